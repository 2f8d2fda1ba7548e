"""What a step holds: by rows, by samples, or by a budget of tokens; from the first step on or growing."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus import texts
from danlu.base.errors import UserError
from danlu.data.ramp import Ramp
from danlu.data.stream import Stream, _budget, open_stream
from danlu.data.supply import Mapped
from danlu.tokenizer.tokenizer import Tokenizer
from made_samples import encoded

STARTER = Tokenizer.load("starter")


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path / "cache"))
    return texts(tmp_path / "a.jsonl", 600)


def opened(path, **keys):
    keys = {"seq_len": 32, "batch_tokens": 1024, "micro_batch": 4, "epochs": 1, "prefetch": 0, **keys}
    return open_stream([path], "pretrain", STARTER, **keys)


def samples_of(steps):
    found = Counter()
    for step in steps:
        for batch in step:
            for number in range(batch.num_samples):
                found[tuple(batch.tokens_BT[batch.samples_BT == number].tolist())] += 1
    return found


def test_a_budget_fills_packs_of_a_micro_batch_and_never_more(corpus):
    steps = list(opened(corpus, packing="budget"))
    batches = [batch for step in steps for batch in step]
    assert {batch.tokens_BT.shape for batch in batches} == {(1, 4 * 32)}
    assert all(len(step) == 1024 // (4 * 32) for step in steps[:-1])
    assert max(map(len, samples_of(steps))) == 32  # samples keep to seq_len
    fill = np.mean([batch.num_tokens / 128 for step in steps[:-1] for batch in step])
    assert fill > 0.97
    rows = [
        batch.num_tokens / batch.tokens_BT.numel() for step in list(opened(corpus))[:-1] for batch in step
    ]
    assert fill >= np.mean(rows)


def test_all_ways_to_pack_hold_the_same_samples(corpus):
    one, two, three = (samples_of(opened(corpus, packing=packing)) for packing in (True, False, "budget"))
    assert one == two == three


@pytest.mark.parametrize("ranks", [2, 3])
def test_a_budget_gives_the_same_steps_at_any_number_of_ranks(corpus, ranks):
    alone = [samples_of([step]) for step in opened(corpus, packing="budget")]
    parts = [opened(corpus, packing="budget", rank=rank, ranks=ranks) for rank in range(ranks)]
    assert [sum((samples_of([part]) for part in step), Counter()) for step in zip(*parts)] == alone


def test_a_budget_is_no_larger_than_a_step(corpus):
    (batch,) = next(opened(corpus, packing="budget", micro_batch=64, batch_tokens=100))
    assert batch.tokens_BT.shape == (1, 100)


@given(st.integers(8, 600), st.integers(0, 40_000), st.integers(1, 40))
def test_a_budget_makes_up_a_step_in_packs_no_wider_than_a_micro_batch(seq_len, more, micro_batch):
    batch_tokens = seq_len + more
    width, rows = _budget(seq_len, batch_tokens, micro_batch)
    assert seq_len <= width <= seq_len * micro_batch
    assert batch_tokens - max(rows, seq_len) < rows * width <= batch_tokens


@pytest.mark.parametrize("packing", [True, False, "budget"])
def test_steps_grow_in_a_straight_line_to_full_size(corpus, packing):
    made = opened(corpus, packing=packing, warmup=(128, 10), epochs=2)
    width = 128 if packing == "budget" else 32
    steps = list(made)
    assert made.total_steps == len(steps)
    held = [sum(int((batch.samples_BT[:, 0] >= 0).sum()) for batch in step) * width for step in steps[:-1]]
    for step, tokens in enumerate(held):
        assert abs(tokens - min(1024, 128 + (1024 - 128) * step / 10)) < width
    assert {len(batch.tokens_BT) for step in steps for batch in step} == {1 if packing == "budget" else 4}


def test_growing_goes_on_after_a_stop(corpus):
    whole = [samples_of([step]) for step in opened(corpus, warmup=(32, 30))]
    first = opened(corpus, warmup=(32, 30))
    for _ in range(11):
        next(first)
    second = opened(corpus, warmup=(32, 30), ranks=1)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert [samples_of([step]) for step in second] == whole[11:]


@given(st.integers(1, 50), st.integers(0, 60), st.integers(0, 4000), st.data())
def test_the_number_of_steps_is_what_adding_them_up_gives(full, steps, rows, data):
    ramp = Ramp(full, data.draw(st.integers(1, full)), steps)
    left, count = rows, 0
    while left > 0:
        left -= ramp.rows(count)
        count += 1
    assert ramp.steps_for(rows) == count
    assert all(0 <= ramp.rows(step + 1) - ramp.rows(step) for step in range(steps + 3))
    assert ramp.rows(steps) == full


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 3), st.integers(1, 5))
def test_a_step_that_grows_wants_no_new_shapes(ranks, micro_batch):
    supply = Mapped(encoded([5] * 200), 0)
    keys = {"seq_len": 8, "rows_per_step": 12, "micro_batch": micro_batch, "ramp": Ramp(12, 1, 20)}
    shapes = {
        tuple(batch.tokens_BT.shape)
        for rank in range(ranks)
        for step in Stream(supply, **keys, rank=rank, ranks=ranks, epochs=1, prefetch=0)
        for batch in step
    }
    full = {
        tuple(batch.tokens_BT.shape)
        for batch in next(Stream(supply, **{**keys, "ramp": None}, ranks=ranks, prefetch=0))
    }
    assert shapes == full


def test_a_batch_smaller_than_a_row_is_refused(corpus):
    with pytest.raises(UserError, match="less than one row"):
        opened(corpus, batch_tokens=31)
