"""Packing loses nothing, overfills nothing, and leaves little room."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.data.packing import Plan, best_fit
from made_samples import encoded

lengths_and_row = st.lists(st.integers(1, 50), max_size=60).flatmap(
    lambda lengths: st.tuples(st.just(lengths), st.integers(max(lengths, default=1), 120))
)


@given(lengths_and_row)
@settings(deadline=None)
def test_every_sample_stands_in_one_group_and_no_group_is_too_long(case):
    lengths, row = case
    groups = best_fit(lengths, row)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in group) <= row for group in groups)


@given(lengths_and_row)
@settings(deadline=None)
def test_each_sample_went_to_the_fullest_group_it_fitted(case):
    """The oracle tries every group for every sample."""
    lengths, row = case
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [room for room in rooms if room >= length]
        if fitting:
            rooms.remove(min(fitting))
        rooms.append((min(fitting) if fitting else row) - length)
    assert sorted(row - sum(lengths[i] for i in group) for group in best_fit(lengths, row)) == sorted(rooms)


def test_a_sample_longer_than_a_row_is_refused():
    with pytest.raises(ValueError, match="sample 1 has 9 tokens; a row holds 8"):
        best_fit([3, 9], 8)


@pytest.mark.parametrize("window", [1000, 4096])
@pytest.mark.parametrize("spread", [0.5, 0.8, 1.2])
@pytest.mark.parametrize("row", [512, 1024])
def test_rows_of_log_normal_samples_are_97_percent_full(window, spread, row):
    chance = np.random.default_rng(0)
    lengths = np.clip(chance.lognormal(np.log(150), spread, 12_000), 4, 512).astype(np.int32)
    plan = Plan(encoded(lengths), row, seed=0, window=window)
    assert lengths.sum() / (plan.count_rows(0) * row) >= 0.97


def test_a_window_is_planned_without_those_before_it():
    lengths = np.random.default_rng(1).integers(1, 64, 2000).astype(np.int32)
    plan = Plan(encoded(lengths), 64, seed=5, window=100)
    whole = [row for window in range(plan.windows) for row in plan.rows(1, window)]
    assert sorted(i for row in whole for i in row) == list(range(2000))
    assert Plan(encoded(lengths), 64, seed=5, window=100).rows(1, 13) == plan.rows(1, 13)
    assert plan.rows(0, 13) != plan.rows(1, 13)


def test_long_rows_do_not_come_first():
    """Packing sorts; the rows of a window are shuffled again."""
    lengths = np.random.default_rng(2).integers(1, 64, 4000).astype(np.int32)
    rows = Plan(encoded(lengths), 64, seed=0).rows(0, 0)
    sizes = np.array([len(row) for row in rows], float)
    assert abs(np.corrcoef(sizes, np.arange(len(sizes)))[0, 1]) < 0.1


def test_an_epoch_has_exactly_the_rows_that_are_counted():
    lengths = np.random.default_rng(3).integers(1, 64, 20_000).astype(np.int32)
    plan = Plan(encoded(lengths), 64, seed=0, window=10)
    assert plan.count_rows(1) == sum(1 for window in range(plan.windows) for _ in plan.rows(1, window))
    samples = [sample for window in range(plan.windows) for row in plan.rows(1, window) for sample in row]
    assert sorted(samples) == list(range(len(lengths)))
