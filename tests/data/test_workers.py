"""Work done by other processes comes back in order, in words, on the cores that are ours."""

from __future__ import annotations

import operator
import os
import time
from functools import partial

import pytest

from danlu.base.errors import UserError
from danlu.data import workers
from danlu.data.workers import cores, in_order


@pytest.mark.parametrize("processes", [0, 1, 3])
def test_results_come_in_the_order_of_the_items(processes):
    waits = [0.05, 0, 0.02, 0, 0, 0.03, 0, 0.01]
    done = list(in_order(time.sleep, waits, processes))
    assert [item for item, _ in done] == waits
    assert list(in_order(partial(pow, 2), range(50), processes)) == [(n, 2**n) for n in range(50)]


def test_nothing_is_begun_long_before_it_is_asked_for():
    items = iter(range(100))
    done = in_order(abs, items, 2)
    for number in range(5):
        assert next(done) == (number, number)
    assert next(items) <= 10
    done.close()


def test_what_goes_wrong_there_is_raised_here_in_its_turn():
    done = in_order(partial(operator.truediv, 1), [1, 2, 0, 4], 2)
    assert [next(done), next(done)] == [(1, 1), (2, 0.5)]
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        next(done)
    with pytest.raises(UserError, match="a process that encodes ended with code 3"):
        list(in_order(os._exit, [3], 2))


def test_cores_are_those_this_process_may_use(monkeypatch, tmp_path):
    there = len(os.sched_getaffinity(0))
    monkeypatch.setattr(workers, "_quota", lambda root: None)
    assert cores() == there
    monkeypatch.setattr(workers, "_quota", lambda root: 0.5)
    assert cores() == 1


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_a_container_may_have_less_than_its_host(tmp_path, files, quota):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert workers._quota(tmp_path) == quota
