"""metrics.jsonl: one whole object a step, whatever happens; and its numbers are what the clock says."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base import log
from danlu.train import metrics
from danlu.train.metrics import Metrics

SRC = Path(metrics.__file__).resolve().parents[2]


class Clock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Silent:
    """Progress nobody looks at."""

    def update(self, row):
        pass

    def close(self):
        pass


def opened(folder, **options):
    options = {"memory": lambda: 5, "progress": Silent(), "total_steps": 9} | options
    return Metrics(folder, **options)


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_row_holds_what_was_measured_and_what_follows_from_it(tmp_path):
    clock = Clock()
    made = opened(tmp_path, clock=clock, flops_per_token=10.0, ceiling=4000.0)
    for step, (seconds, tokens) in enumerate([(2.0, 100), (4.0, 300)], start=1):
        clock.now += seconds
        made.log(step, {"loss": 1.0 / step, "lr": 0.1, "tokens": tokens, "grad_norm": 2.0})
    made.close()
    first, second = rows(tmp_path)
    assert list(first) == [
        "step",
        "loss",
        "lr",
        "tokens",
        "tokens_per_s",
        "mfu",
        "memory",
        "time",
        "grad_norm",
    ]
    assert (first["tokens"], second["tokens"]) == (100, 400)  # since the run began
    assert (first["tokens_per_s"], second["tokens_per_s"]) == (50.0, 75.0)  # of the step alone
    assert (first["mfu"], second["mfu"]) == (50 * 10 / 4000, round(75 * 10 / 4000, 4))
    assert second["loss"] == 0.5 and second["memory"] == 5 and second["time"] > 1.7e9


@pytest.mark.parametrize("unknown", [{"flops_per_token": None}, {"ceiling": None}])
def test_an_unknown_mfu_is_absent(tmp_path, unknown):
    made = opened(tmp_path, **({"flops_per_token": 1.0, "ceiling": 1.0} | unknown))
    made.log(1, {"loss": 1.0, "tokens": 5})
    assert "mfu" not in rows(tmp_path)[0]


def test_losses_are_written_to_their_last_bit(tmp_path):
    losses = [math.pi / 7**n for n in range(20)]
    made = opened(tmp_path)
    for step, loss in enumerate(losses, start=1):
        made.log(step, {"loss": loss, "tokens": 1})
    assert [row["loss"] for row in rows(tmp_path)] == losses


def test_saving_and_measuring_do_not_slow_a_step_down(tmp_path):
    clock = Clock()
    made = opened(tmp_path, clock=clock)
    for step in (1, 2, 3):
        clock.now += 1.0
        made.log(step, {"loss": 1.0, "tokens": 10})
        with made.pause():
            clock.now += 60.0
        clock.now += 30.0  # an evaluation, known by what it logs to the step before it
        made.log(step, {"valid_loss": 2.0})
    assert [row["tokens_per_s"] for row in rows(tmp_path)] == [10.0] * 3


def test_what_is_measured_later_about_a_step_joins_its_line(tmp_path):
    made = opened(tmp_path)
    for step in (1, 2):
        made.log(step, {"loss": 1.0, "tokens": 1})
        made.log(step, {"valid_loss": 1.23456789})
        made.log(step, {"valid_loss": 2.0})  # shorter than before
    assert [(row["step"], row["loss"], row["valid_loss"]) for row in rows(tmp_path)] == [
        (1, 1.0, 2.0),
        (2, 1.0, 2.0),
    ]


def test_a_measurement_before_the_first_step_is_a_row_too(tmp_path):
    made = opened(tmp_path)
    made.log(0, {"valid_loss": 9.0})
    made.log(1, {"loss": 8.0, "tokens": 1})
    assert [row["step"] for row in rows(tmp_path)] == [0, 1] and "loss" not in rows(tmp_path)[0]


def test_what_is_not_finite_is_null_and_tensors_are_numbers(tmp_path):
    made = opened(tmp_path)
    made.log(
        1,
        {
            "loss": float("nan"),
            "grad_norm": torch.tensor(float("inf")),
            "balance": torch.tensor(0.5),
            "tokens": 1,
        },
    )
    row = rows(tmp_path)[0]
    assert row["loss"] is None and row["grad_norm"] is None and row["balance"] == 0.5


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 6)), min_size=1, max_size=6))
def test_however_often_a_run_is_resumed_no_step_stands_twice(tmp_path_factory, tries):
    folder = tmp_path_factory.mktemp("run")
    reached = 0
    for back_to, steps in tries:
        start = min(back_to, reached)
        made = opened(folder)
        made.rewind(start)
        assert [row["step"] for row in rows(folder)] == list(range(1, start + 1)) or start == 0
        for step in range(start + 1, start + steps + 1):
            made.log(step, {"loss": 1.0, "tokens": 7})
        made.close()
        reached = start + steps
    assert [row["step"] for row in rows(folder)] == list(range(1, reached + 1))
    assert [row["tokens"] for row in rows(folder)] == [7 * step for step in range(1, reached + 1)]


def test_a_row_cut_off_by_a_crash_is_dropped_on_resume(tmp_path):
    made = opened(tmp_path)
    for step in (1, 2):
        made.log(step, {"loss": 1.0, "tokens": 1})
    made.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')
    opened(tmp_path, start_step=2).log(3, {"loss": 2.0, "tokens": 1})
    assert [row["step"] for row in rows(tmp_path)] == [1, 2, 3]


def test_even_without_rewinding_the_first_row_replaces_those_from_its_step_on(tmp_path):
    for _ in range(2):
        made = opened(tmp_path)
        for step in (1, 2, 3):
            made.log(step, {"loss": 1.0, "tokens": 1})
        made.close()
    assert [row["step"] for row in rows(tmp_path)] == [1, 2, 3]


KILLED = """
import os, sys
from danlu.train.metrics import Metrics
made = Metrics(sys.argv[1], memory=lambda: 1)
for step in range(1, 10**9):
    made.log(step, {"loss": 1.0, "tokens": 1})
    made.log(step, {"valid_loss": 2.0})
    if step == int(sys.argv[2]):
        os.kill(os.getpid(), 9)
"""


def test_every_step_before_a_kill_is_in_the_file(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path), "57"]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(SRC)}, capture_output=True, timeout=60)
    assert done.returncode == -9
    assert [(row["step"], row["valid_loss"]) for row in rows(tmp_path)] == [
        (step, 2.0) for step in range(1, 58)
    ]


def test_only_rank_0_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(log, "rank", lambda: 1)
    made = Metrics(tmp_path / "run", trackers=["tensorboard"])
    made.rewind(3)
    made.log(1, {"loss": 1.0})
    with made.pause():
        made.close()
    assert not (tmp_path / "run").exists()


def test_memory_is_the_devices_peak_when_nobody_says_otherwise(tmp_path):
    made = Metrics(tmp_path, progress=Silent())
    made.log(1, {"loss": 1.0, "tokens": 1})
    assert rows(tmp_path)[0]["memory"] > 1e7


def test_metrics_are_read_without_torch_and_without_rich(tmp_path):
    code = "import sys, danlu.train.metrics; assert not {'torch', 'rich', 'numpy'} & set(sys.modules)"
    subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(SRC)}, check=True, timeout=60
    )
