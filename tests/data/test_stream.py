"""Streams: every sample once an epoch, the same order at any number of ranks, exact after a stop."""

from __future__ import annotations

import gc
import json
import threading
import time
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.data.batch import IGNORE
from danlu.data.stream import Stream
from danlu.data.supply import Mapped
from made_samples import encoded


@st.composite
def settings_of_a_stream(draw):
    row = draw(st.integers(4, 24))
    return {
        "lengths": draw(st.lists(st.integers(1, row), min_size=1, max_size=60)),
        "seq_len": row,
        "rows_per_step": draw(st.integers(1, 7)),
        "micro_batch": draw(st.integers(1, 4)),
        "seed": draw(st.integers(0, 5)),
        "packing": draw(st.booleans()),
        "shuffle": draw(st.booleans()),
        "epochs": draw(st.integers(1, 3)),
        "window": draw(st.sampled_from([1, 7, 20, 4096])),
    }


def stream(lengths, rank=0, ranks=1, **keys):
    keys.setdefault("prefetch", 0)
    order = {name: keys.pop(name) for name in ("shuffle", "window") if name in keys}
    supply = Mapped(encoded(lengths), keys.pop("seed", 0), **order)
    return Stream(supply, rank=rank, ranks=ranks, **keys)


def told(step):
    """Return the samples of one rank's part of a step, as a counter of (sample, length)."""
    found = Counter()
    for batch in step:
        for number in range(batch.num_samples):
            tokens = batch.tokens_BT[batch.samples_BT == number]
            assert len(set(tokens.tolist())) == 1
            found[int(tokens[0]) - 1, len(tokens)] += 1
    return found


def rows_of(steps):
    """Return every row of every step, in order, as text; all that can differ between two streams."""
    return [
        [
            (batch.tokens_BT.tolist(), batch.labels_BT.tolist(), batch.positions_BT.tolist(), batch.rows)
            for batch in step
        ]
        for step in steps
    ]


@given(settings_of_a_stream(), st.integers(1, 4))
@settings(deadline=None)
def test_each_epoch_holds_every_sample_once_at_any_number_of_ranks(keys, ranks):
    seen = Counter()
    for rank in range(ranks):
        for step in stream(**keys, rank=rank, ranks=ranks):
            seen += told(step)
    expected = dict.fromkeys(enumerate(keys["lengths"]), keys["epochs"])
    assert seen == expected


@given(settings_of_a_stream(), st.integers(2, 4))
@settings(deadline=None)
def test_a_step_is_the_same_rows_at_any_number_of_ranks(keys, ranks):
    alone = [sum(map(told, [step]), Counter()) for step in stream(**keys)]
    parts = [list(stream(**keys, rank=rank, ranks=ranks)) for rank in range(ranks)]
    assert [sum(map(told, step), Counter()) for step in zip(*parts)] == alone
    for step in zip(*parts):
        shapes = [[batch.tokens_BT.shape for batch in micro_batches] for micro_batches in step]
        assert all(shape == shapes[0] for shape in shapes)


@given(settings_of_a_stream(), st.data())
@settings(deadline=None)
def test_a_stream_goes_on_from_a_saved_state_as_if_never_stopped(keys, data):
    whole = rows_of(stream(**keys))
    stop = data.draw(st.integers(0, len(whole)))
    first = stream(**keys)
    before = rows_of(next(first) for _ in range(stop))
    state = json.loads(json.dumps(first.state_dict()))
    second = stream(**keys)
    second.load_state_dict(state)
    assert before + rows_of(second) == whole


@given(settings_of_a_stream(), st.integers(1, 3), st.integers(1, 3), st.data())
@settings(deadline=None)
def test_ranks_may_change_at_a_stop(keys, before, after, data):
    whole = [told(step) for step in stream(**keys)]
    stop = data.draw(st.integers(0, len(whole)))
    first = [stream(**keys, rank=rank, ranks=before) for rank in range(before)]
    seen = [sum((told(next(each)) for each in first), Counter()) for _ in range(stop)]
    states = [each.state_dict() for each in first]
    assert all(state == states[0] for state in states)
    second = [stream(**keys, rank=rank, ranks=after) for rank in range(after)]
    for each in second:
        each.load_state_dict(states[0])
    seen += [sum(map(told, step), Counter()) for step in zip(*second)]
    assert seen == whole


@given(settings_of_a_stream())
@settings(deadline=None, max_examples=40)
def test_the_number_of_steps_is_known_beforehand(keys):
    made = stream(**keys)
    assert made.total_steps == len(list(made))


@given(settings_of_a_stream())
@settings(deadline=None, max_examples=40)
def test_micro_batches_are_as_large_as_asked_and_only_the_last_step_is_short(keys):
    *full, last = stream(**keys)
    for step in [*full, last]:
        assert all(1 <= len(batch.tokens_BT) <= keys["micro_batch"] for batch in step)
    for step in full:
        filled = sum(int((batch.samples_BT[:, 0] >= 0).sum()) for batch in step)
        assert filled == keys["rows_per_step"] == sum(len(batch.tokens_BT) for batch in step)


@given(settings_of_a_stream())
@settings(deadline=None, max_examples=40)
def test_labels_are_the_tokens_after_and_records_are_named(keys):
    for step in stream(**keys):
        for batch in step:
            read = batch.samples_BT >= 0
            assert (batch.labels_BT[read] == batch.tokens_BT[read]).all()  # a sample repeats one token
            assert (batch.labels_BT[~read] == IGNORE).all()
            assert batch.count == batch.num_tokens == int(read.sum())
            assert batch.rows == sorted({10 * (int(token) - 1) for token in batch.tokens_BT[read]})


def test_epochs_are_shuffled_anew_and_validation_is_not():
    keys = {"seq_len": 8, "rows_per_step": 50, "micro_batch": 50, "packing": False}
    first, second = rows_of(stream([3] * 50, epochs=2, **keys))
    assert first != second
    (plain,) = rows_of(stream([3] * 50, epochs=1, shuffle=False, **keys))
    assert [row[0] for row in plain[0][0]] == list(range(1, 51))


def test_a_stream_without_epochs_does_not_end():
    endless = stream([1, 2, 3], seq_len=4, rows_per_step=5, micro_batch=5)
    assert endless.total_steps is None
    for _ in range(10):
        assert sum(batch.num_samples for batch in next(endless)) >= 5
    assert endless.epoch > 3


def test_work_done_ahead_changes_neither_batches_nor_state():
    keys = {"lengths": [2, 3, 4] * 30, "seq_len": 8, "rows_per_step": 4, "micro_batch": 2, "epochs": 2}
    now, ahead = stream(**keys), stream(**keys, prefetch=3)
    for step in now:
        assert rows_of([step]) == rows_of([next(ahead)])
        assert now.state_dict() == ahead.state_dict()
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(ahead)
    ahead.load_state_dict(stream(**keys).state_dict())
    assert rows_of(ahead) == rows_of(stream(**keys))


def test_an_error_ahead_is_raised_where_its_step_would_come():
    keys = {"seq_len": 8, "rows_per_step": 1, "micro_batch": 1, "packing": False, "shuffle": False}
    broken = stream([2, 2, 2], **keys, prefetch=2)
    broken.supply.samples.shards[0].starts[2] = 10**6
    assert len(next(broken)) == len(next(broken)) == 1
    for _ in range(2):
        with pytest.raises(IndexError):
            next(broken)


def test_a_forgotten_stream_leaves_no_thread():
    forgotten = stream([2] * 50, seq_len=8, rows_per_step=1, micro_batch=1, prefetch=2)
    next(forgotten)
    del forgotten
    gc.collect()
    limit = time.monotonic() + 10
    while any(thread.name == "batches" for thread in threading.enumerate()):
        assert time.monotonic() < limit
        time.sleep(0.02)


@pytest.mark.parametrize("changed", [{"seed": 1}, {"seq_len": 9}, {"packing": False}, {"lengths": [2, 3]}])
def test_a_state_of_other_data_is_refused(changed):
    keys = {"lengths": [1, 2, 3], "seq_len": 8, "rows_per_step": 1, "micro_batch": 1}
    state = stream(**keys).state_dict()
    with pytest.raises(UserError, match="stands in other data"):
        stream(**{**keys, **changed}).load_state_dict(state)


def test_the_state_is_small_whatever_the_data():
    sizes = [
        len(json.dumps(stream([3] * n, seq_len=8, rows_per_step=1, micro_batch=1).state_dict()))
        for n in (1, 9999)
    ]
    assert sizes[1] - sizes[0] == 3  # three more digits


def test_weights_reach_the_batch_and_zero_is_not_learned():
    made = stream([3], seq_len=4, rows_per_step=1, micro_batch=1, epochs=1)
    made.supply.samples.shards[0].codes, made.supply.samples.shards[0].table = (
        np.array([0, 1, 0, 2], np.uint8),
        (0.0, 1.0, 10.0),
    )
    ((batch,),) = made
    assert batch.labels_BT.tolist() == [[1, IGNORE, 1, IGNORE]]
    assert torch.equal(batch.weights_BT, torch.tensor([[1.0, 0.0, 10.0, 0.0]]))
    assert (batch.count, batch.num_tokens) == (2, 3)


def test_batches_come_at_a_million_tokens_a_second():
    chance = np.random.default_rng(0)
    fast = stream(
        np.clip(chance.lognormal(5, 0.6, 20_000), 4, 512).astype(int),
        seq_len=512,
        rows_per_step=64,
        micro_batch=16,
    )
    next(fast)

    def speed():
        begin = time.perf_counter()
        tokens = sum(batch.num_tokens for _ in range(40) for batch in next(fast))
        return tokens / (time.perf_counter() - begin)

    assert max(speed() for _ in range(3)) > 1e6
