"""Packing loses nothing, overfills nothing, and leaves little room."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.data.count import count_rows
from danlu.data.packing import Packer, best_fit, count_groups
from danlu.data.ramp import Ramp
from danlu.data.supply import Clock, Mapped
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


@given(lengths_and_row)
@settings(deadline=None)
def test_groups_are_counted_without_being_made(case):
    lengths, row = case
    assert count_groups(np.array(lengths, np.int32), row) == len(best_fit(lengths, row))


@pytest.mark.parametrize("window", [1000, 4096])
@pytest.mark.parametrize("spread", [0.5, 0.8, 1.2])
@pytest.mark.parametrize("row", [512, 1024])
def test_rows_of_log_normal_samples_are_97_percent_full(window, spread, row):
    chance = np.random.default_rng(0)
    lengths = np.clip(chance.lognormal(np.log(150), spread, 12_000), 4, 512).astype(np.int32)
    supply = Mapped(encoded(lengths), seed=0, window=window)
    assert lengths.sum() / (count_rows(supply, Packer(row), Ramp(1), 1) * row) >= 0.97


def test_a_window_is_packed_without_those_before_it():
    lengths = np.random.default_rng(1).integers(1, 64, 2000).astype(np.int32)

    def rows(epoch, window):
        supply = Mapped(encoded(lengths), seed=5, window=100)
        found = next(supply.windows({"epoch": epoch, "window": window}, Clock()))
        packed = Packer(64).rows(found.lengths_S, found.key)
        return [found.numbers_S[row].tolist() for row in packed]

    whole = [row for window in range(20) for row in rows(1, window)]
    assert sorted(i for row in whole for i in row) == list(range(2000))
    assert rows(1, 13) == rows(1, 13) != rows(0, 13)


def test_long_rows_do_not_come_first():
    """Packing sorts; the rows of a window are shuffled again."""
    lengths = np.random.default_rng(2).integers(1, 64, 4000).astype(np.int32)
    sizes = np.array([len(row) for row in Packer(64).rows(lengths, key=7)], float)
    assert abs(np.corrcoef(sizes, np.arange(len(sizes)))[0, 1]) < 0.1


def test_an_epoch_has_exactly_the_rows_that_are_counted():
    lengths = np.random.default_rng(3).integers(1, 64, 20_000).astype(np.int32)
    supply, packer = Mapped(encoded(lengths), seed=0, window=10), Packer(64)
    rows = 0
    for window in supply.windows({"epoch": 1, "window": 0}, Clock()):
        rows += len(packer.rows(window.lengths_S, window.key))
        if supply.epoch(window.after) == 2:
            break
    both, first = (count_rows(supply, packer, Ramp(1), epochs) for epochs in (2, 1))
    assert both - first == rows


def test_counting_a_million_samples_takes_less_than_half_a_second_and_once_only(tmp_path, monkeypatch):
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path))
    lengths = np.clip(np.random.default_rng(0).lognormal(5, 0.8, 10**6), 4, 512).astype(np.int32)
    supply = Mapped(encoded(lengths), seed=0)

    def count():
        began = time.process_time()
        return count_rows(supply, Packer(512), Ramp(1), 1), time.process_time() - began

    (rows, first), (again, second) = count(), count()
    assert rows == again
    assert first < 0.5
    assert second < 0.05
    (memo,) = (tmp_path / "rows").iterdir()
    memo.write_text(json.dumps({"rows": 7}))
    assert count()[0] == 7
    memo.write_text("{")
    assert count()[0] == rows
    other = Mapped(encoded(lengths), seed=1)
    assert count_rows(other, Packer(512), Ramp(1), 1) != 7
