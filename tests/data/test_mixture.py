"""Mixtures: the shares asked for at any moment, at any step, and after any stop."""

from __future__ import annotations

import json
import time
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus import texts
from danlu.base.errors import UserError
from danlu.data import recipe
from danlu.data.encode import Options
from danlu.data.formats import Reading
from danlu.data.mixture import Mixture
from danlu.data.parts import BlockEncoder
from danlu.data.prepared import prepare
from danlu.data.recipe import Part, Piece, Recipe
from danlu.data.sources import Source
from danlu.data.store import Task
from danlu.data.stream import Stream, open_stream
from danlu.data.supply import Clock, Mapped
from danlu.tokenizer.tokenizer import Tokenizer
from made_samples import encoded

STARTER = Tokenizer.load("starter")
CHANCE = np.random.default_rng(0)


def mixture(weights, lengths, window=256, row=64, rows=8, level="sample", stop="never", seed=0, **keys):
    parts = tuple(
        Part(name=f"s{number}", paths=("x",), weight=weight) for number, weight in enumerate(weights)
    )
    supplies = [Mapped(encoded(each), seed + number, window=window) for number, each in enumerate(lengths)]
    made = Recipe(sources=parts, level=level, stop=stop)
    return Mixture(made, supplies, lambda step: row * rows, seed, window=window, **keys)


def uneven(count, mean=20):
    return CHANCE.integers(1, 2 * mean, count)


def drawn(mix, count, start=None):
    """Return the source and length of each of the first samples drawn, and where that left off."""
    sources, lengths = [], []
    for window in mix.windows(start or mix.start(), Clock()):
        sources += window.source_S.tolist()
        lengths += window.lengths_S.tolist()
        if len(sources) >= count:
            return np.array(sources), np.array(lengths), window.after


@given(
    st.lists(st.floats(0.01, 10), min_size=1, max_size=5),
    st.sampled_from(["sample", "token"]),
    st.sampled_from([64, 256]),
)
@settings(deadline=None, max_examples=15)
def test_a_constant_mix_is_exact_within_about_a_sample_at_any_of_ten_thousand_draws(weights, level, window):
    """The oracle adds up what each source had after every draw."""
    mix = mixture(
        weights, [uneven(500 + 300 * k, 10 * k + 10) for k in range(len(weights))], window, level=level
    )
    sources, lengths, _ = drawn(mix, 10_000)
    amount = lengths if level == "token" else np.ones(len(sources))
    had = np.cumsum((sources[:, None] == np.arange(len(weights))) * amount[:, None], axis=0)
    due = np.cumsum(amount)[:, None] * np.array(weights) / sum(weights)
    assert np.abs(had - due).max() <= 1.25 * amount.max()


def test_draws_go_on_after_a_stop_as_if_there_had_been_none():
    mix = mixture([3, 2, 0.7], [uneven(300), uneven(40), uneven(900)], level="token")
    whole = [
        (w.source_S.tolist(), w.numbers_S.tolist(), w.after)
        for w, _ in zip(mix.windows(mix.start(), Clock()), range(20))
    ]
    position = json.loads(json.dumps(whole[10][2]))
    again = [
        (w.source_S.tolist(), w.numbers_S.tolist(), w.after)
        for w, _ in zip(mix.windows(position, Clock()), range(9))
    ]
    assert again == whole[11:]


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@pytest.mark.parametrize("packing", [True, False])
def test_the_ratio_follows_its_schedule_step_by_step(kind, packing):
    """From 0.5 to 4.5 over 400 steps, the general source staying at 1; measured in the steps themselves."""
    rising = (Piece(weight=0.5, steps=100), Piece(schedule_type=kind, weight=0.5, to=4.5, steps=400))
    level = "token" if packing else "sample"
    row, rows = 64, 8
    mix = mixture([1.0, rising], [uneven(5000), uneven(7000)], 64, row, rows, level, by_samples=not packing)
    if not packing:
        mix.step_size = lambda step: rows
    stream = Stream(mix, seq_len=row, rows_per_step=rows, micro_batch=rows, packing=packing, prefetch=0)
    had = [np.zeros(2)]
    for _ in range(700):
        if packing:
            next(stream)
            had.append(np.array(stream._cursor.tokens, float))
        else:
            (batch,) = next(stream)
            first = sum(int(row_id_ >> 40 == 0) for row_id_ in batch.rows)
            had.append(had[-1] + [first, len(batch.rows) - first])
    had = np.array(had)
    for middle in range(30, 670, 20):  # a mean over 41 steps, since a window is several
        a, b = had[middle + 20] - had[middle - 20]
        gone = min(max((middle - 100) / 400, 0), 1)
        if kind == "cosine":
            gone = (1 - np.cos(np.pi * gone)) / 2
        assert b / a == pytest.approx(0.5 + 4.0 * gone, rel=0.15, abs=0.1), middle
    a, b = had[700] - had[550]
    assert b / a == pytest.approx(4.5, rel=0.05)


def test_the_ratio_follows_its_schedule_within_a_window_too():
    """One window is 160 steps long; its samples are told in the order they were drawn."""
    rising = (Piece(schedule_type="linear", weight=0.0, to=3.0, steps=160),)
    mix = mixture([1.0, rising], [[20] * 5000, [20] * 5000], 4096)
    window = next(mix.windows(mix.start(), Clock()))
    ratio = np.linspace(0, 3, 4096)
    for part, due in zip(np.split(window.source_S, 8), np.split(ratio / (1 + ratio), 8)):
        assert part.mean() == pytest.approx(due.mean(), abs=0.02)


def test_steps_are_counted_as_they_will_be_where_weights_follow_them():
    """Long samples come more and more, so a clock that is off would count other rows."""
    rising = (Piece(schedule_type="linear", weight=0.1, to=9.0, steps=100),)
    mix = mixture([1.0, rising], [[1] * 2000, [60] * 2000], 50, 64, 7)
    made = Stream(mix, seq_len=64, rows_per_step=7, micro_batch=7, epochs=1, prefetch=0)
    assert made.total_steps == len(list(made))


@pytest.mark.parametrize("constant", [True, False])
def test_an_epoch_ends_with_the_very_sample_that_ends_its_source(constant):
    """Draws alternate, so the second source ends with draw 64; weights are looked up every 64."""
    weight = 1.0 if constant else (Piece(schedule_type="linear", weight=1.0, to=1.0, steps=5),)
    mix = mixture([weight, weight], [[5] * 100, [5] * 32], 4096, stop="first")
    windows = mix.windows(mix.start(), Clock())
    first, second = next(windows), next(windows)
    assert (len(first.numbers_S), mix.epoch(first.position), mix.epoch(first.after)) == (64, 0, 1)
    assert (len(second.numbers_S), mix.epoch(second.after)) == (64, 2)


def test_shares_so_far_are_those_of_the_tokens_handed_out():
    stream = Stream(
        mixture([1, 3], [uneven(900), uneven(900)], level="token"),
        seq_len=64, rows_per_step=8, micro_batch=8, prefetch=2,
    )  # fmt: skip
    assert stream.shares() == {"share.s0": 0.0, "share.s1": 0.0}
    tokens = Counter()
    for _ in range(40):
        for batch in next(stream):
            for number in range(batch.num_samples):
                size = int((batch.samples_BT == number).sum())
                tokens[size] += 1
    total = sum(size * times for size, times in tokens.items())
    assert sum(stream._cursor.tokens) == total
    assert stream.shares()["share.s1"] == pytest.approx(0.75, abs=0.05)
    stream.close()


def test_rows_are_named_by_the_source_they_are_of(tmp_path):
    mix = mixture([1, 1], [[4] * 5, [4] * 5])
    for number, supply in enumerate(mix.supplies):
        supply.samples.files = [f"{number}.jsonl"]
    mix = Mixture(mix.recipe, [Mapped(each.samples, 0) for each in mix.supplies], lambda step: 1, 0)
    stream = Stream(mix, seq_len=8, rows_per_step=5, micro_batch=5, packing=False, epochs=1, prefetch=0)
    named = sorted(stream.where(row) for step in stream for batch in step for row in batch.rows)
    assert named == sorted(f"{file}.jsonl:{10 * row + 1}" for file in (0, 1) for row in range(5))


def test_a_source_of_weight_zero_is_never_drawn():
    sources, _, _ = drawn(mixture([0, 1, 0], [[5] * 10, [5] * 10, [5] * 10]), 100)
    assert set(sources.tolist()) == {1}


@pytest.mark.parametrize("level", ["sample", "token"])
@pytest.mark.parametrize("sources", [2, 8])
def test_a_draw_takes_a_few_microseconds(level, sources):
    weights = [1 + number / 3 for number in range(sources)]
    mix = mixture(weights, [uneven(20_000) for _ in weights], 4096, level=level)
    best = 1.0
    for _ in range(3):
        began = time.process_time()
        drawn(mix, 40_000)
        best = min(best, (time.process_time() - began) / 40_000)
    assert best < 10e-6


def test_the_state_of_a_mixture_is_small_whatever_the_data():
    def size(count):
        mix = mixture([1, 2], [[3] * count, [3] * count])
        _, _, after = drawn(mix, 1000)
        return len(json.dumps(after))

    assert abs(size(99_000) - size(100)) < 20


def written(tmp_path, text):
    path = tmp_path / "mix.yaml"
    path.write_text(text)
    return path


def test_a_file_of_a_mixture_says_the_same_as_the_configuration(tmp_path):
    path = written(
        tmp_path,
        """
sources: [a.jsonl, [b.jsonl, c.jsonl]]
names: [a, rest]
schedule:
- {schedule_type: const, weights: [0.7, 0.3], steps: 10}
- {schedule_type: linear, weights: [1, 0.5], to: [1, 4.5], steps: 100}
level: sample
stop: first
""",
    )
    steady = (Piece(weight=0.7, steps=10), Piece(schedule_type="linear", weight=1.0, to=1.0, steps=100))
    rising = (Piece(weight=0.3, steps=10), Piece(schedule_type="linear", weight=0.5, to=4.5, steps=100))
    sources = (
        Part(name="a", paths="a.jsonl", weight=steady),
        Part(name="rest", paths=("b.jsonl", "c.jsonl"), weight=rising),
    )
    found = recipe.read(path)
    assert found == Recipe(sources=sources, level="sample", stop="first")
    assert found.weights(0) == pytest.approx([0.7, 0.3])
    assert found.weights(60) == pytest.approx([1 / 3.5, 2.5 / 3.5])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sources: []", "sources: is empty"),
        ("names: [a]", "sources"),
        ("sources: [a, b]\nnames: [a]", "names: has 1 entries for 2 sources"),
        ("sources: [a, b]\nnames: [a, a]", "two sources are named a"),
        ("sources: [a, b]\nschedule: [{weights: [1]}]", "weights: has 1 entries for 2 sources"),
        ("sources: [a, b]\nschedule: [{weights: [1, -1]}]", "greater than or equal to 0"),
        ("sources: [a, b]\nschedule: [{weights: [0, 0]}]", "all weights are 0"),
        ("sources: [a, b]\nschedule: [{weights: [1, .nan]}]", "finite"),
        ("sources: [a, b]\nschedule: [{weights: [1, 1], schedule_type: wild}]", "found 'wild'"),
        ("sources: [a]\nschedule: [{weights: [1], schedule_type: linear}]", "linear needs to and steps"),
        ("sources: [a]\nschedule: [{weights: [1], schedule_type: linear, to: [1, 2], steps: 5}]", "has 2"),
        ("sources: [a]\nschedule: [{weights: [1]}, {weights: [2]}]", "every piece but the last needs steps"),
        ("sources: [a, b]\nstop: all\nschedule: [{weights: [1, 0]}]", "ends with weight 0"),
        ("sources: [a, b]\nstop: often", "stop"),
        ("sources: 5", "sources: found 5, not a list"),
        ("sources: {a: b}", "sources: found {'a': 'b'}, not a list"),
        ("sources: [a]\nschedule: 5", "schedule: found 5, not a list"),
        ("sources: [[]]", "sources[0]: names no file"),
        ("sources: [a, '']", "sources[1]: names no file"),
        ("sources: [a, b]\nschedule: [{schedule_type: linear, weights: [1, 1], to: [0, 0], steps: 9},"
         " {weights: [1, 1]}]", "all weights go to 0 at step 9"),
        ("sources: [a, b]\nlevels: token", "levels: unknown key"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_mixture_is_said_in_two_lines(tmp_path, text, problem):
    with pytest.raises(UserError) as found:
        recipe.read(written(tmp_path, text))
    assert problem in found.value.problem
    assert "mix.yaml" in found.value.problem
    assert found.value.hint


def test_a_single_path_is_one_source(tmp_path):
    assert recipe.read(written(tmp_path, "sources: a.jsonl")) == recipe.read(
        written(tmp_path, "sources: [a.jsonl]")
    )


def test_a_mixture_that_is_not_there_is_said():
    with pytest.raises(UserError, match="no such file"):
        recipe.read("nowhere.yaml")


def test_sources_may_be_encoded_prepared_or_streamed(tmp_path, monkeypatch):
    """Each sample comes as often as any of its source's, and is named by its file and line."""
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path / "cache"))
    files = [texts(tmp_path / f"{name}.jsonl", 40, seed=seed) for seed, name in enumerate("abcd")]
    encoder = BlockEncoder("pretrain", STARTER, Options(32), Reading())
    prepare(tmp_path / "prepared", Task(Source(files[1:3], "pretrain"), encoder))
    parts = (
        Part(name="encoded", paths=(str(files[0]),), weight=2),
        Part(name="prepared", paths=(str(tmp_path / "prepared"),)),
        Part(name="streamed", paths=(str(files[3]),), streamed=True),
    )

    def opened():
        keys = {"seq_len": 32, "batch_tokens": 1024, "micro_batch": 8, "prefetch": 2}
        return open_stream([], "pretrain", STARTER, mixture=Recipe(sources=parts, stop="all"), **keys)

    first, named = opened(), Counter()
    while first.epoch < 1:
        for batch in next(first):
            named.update(first.where(row) for row in batch.rows)
    lines = {f"{file}:{line + 1}" for file in files for line in range(40)}
    assert named.keys() == lines
    second = opened()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for _ in range(30):
        one, two = next(first), next(second)
        assert all(torch.equal(a.tokens_BT, b.tokens_BT) and a.rows == b.rows for a, b in zip(one, two))
    first.close()
    second.close()
