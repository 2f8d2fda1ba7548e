"""Stages, checkpoints and generation on chips of both classes: the processor's losses and words."""

from __future__ import annotations

import json

import pytest

from ascend.children import inside, run

pytestmark = [pytest.mark.npu]


@pytest.mark.parametrize("chip", ["910A", "910B3"])
def test_training_on_a_chip_is_training_on_the_processor(chip):
    inside(chip, "on_chip_training.py")


@pytest.mark.slow
@pytest.mark.parametrize("chip", ["910A", "910B3"])
def test_what_an_owner_would_run_finds_nothing_wrong(chip, tmp_path):
    """`danlu selfcheck`, but for the speeds, of which a stand-in has none."""
    cases = ["operations", "trajectory", "resume", "overflow", "commands", "ranks", "bandwidth"]
    words = [word for case in cases for word in ("--only", case)]
    report = tmp_path / "report.json"
    done = run(chip, "-m", "danlu", "selfcheck", "--device", "npu", *words, "--report", str(report))
    assert done.returncode == 0, done.stderr + done.stdout
    told = json.loads(report.read_text())
    assert told["device"]["name"].startswith(f"Ascend{chip}")
    assert set(told["cases"]) == set(cases) and told["cases"]["ranks"]["count"] > 1
    assert not [name for name, case in told["cases"].items() if {"wrong", "left_out"} & case.keys()]
