"""Interrupted anywhere: the next run goes on, nothing is half made, nothing is left running.

Every step is really run on a starter set of a few rows; the oracle is the same run, never interrupted.
Moments, signals and whom they reach are drawn by a seed: a terminal's Ctrl-C reaches all of a command's
group, `kill` the first process alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from launch.clones import copy_clone, small_starter, working_clone
from launch.interrupting import Command, made, running
from made_once import made_once
from shell import ROOT, said

STAND_IN = ROOT / "tests/serve/vllm/stand_in.py"
ENDED = {0, 130, 143, -signal.SIGINT, -signal.SIGTERM}  # of a command that was interrupted
PATIENCE = 40.0
SIGNALS = [(number, whom) for number in (signal.SIGINT, signal.SIGTERM) for whom in ("all", "first")]
SIGNALS += [(signal.SIGINT, "terminal")]


@dataclass(frozen=True)
class Step:
    """One step as a person runs it."""

    words: str
    on: str = "bare"  # bare, data or weights: the clone it begins with
    up: str = ""  # what it says once it is up, for it does not end by itself
    quick: bool = False
    rough: bool = False  # a Ctrl-C may show where it was, for that is a developer's tool


STEPS = {
    "setup": Step("setup"),
    "doctor": Step("doctor", quick=True),
    "data": Step("data"),
    "tokenizer": Step(
        "tokenizer train --text data/starter/pretrain.jsonl --size 1200 --out data/words", "data"
    ),
    "pretrain": Step("--use-moe pretrain", "data"),
    "sft": Step("--use-moe sft", "data"),
    "tool_sft": Step("--use-moe pretrain sft tool_sft", "data"),
    "train": Step("--use-moe train pretrain", "data"),
    "reason": Step(
        "--use-moe reason --set data.train=data/starter/reason.jsonl --set run_dir=runs/r --resume", "weights"
    ),
    "convert": Step("--use-moe convert", "weights"),
    "serve": Step("--use-moe serve --port 0", "weights", up="is served at"),
    "vllm": Step("--use-moe vllm --port {port}", "weights", up="Ctrl-C ends it"),
    "chat": Step("--use-moe chat --prompt hello", "weights"),
    "eval": Step("--use-moe eval tools --limit 12", "weights"),
    "test": Step("test tests/base", rough=True),
    "bench": Step("bench startup --json", rough=True),
    "status": Step("status", quick=True),
    "logs": Step("logs --follow said.log", up="half", quick=True),
    "stop": Step("stop", quick=True),
    "clean": Step("clean caches outputs --yes", "weights"),
}
# What is not run here: one needs a person at a terminal, one a container engine and hours; the last is
# stopped in tests of its own, tests/bundle.
ELSEWHERE = {"shell", "build", "bundle"}


def test_every_step_is_interrupted_here():
    launchers = {Path(line).stem for line in said("launchers").split()}
    assert (launchers | set(said("stages").split())) - ELSEWHERE == set(STEPS)


def bare(folder: Path) -> None:
    clone = working_clone(folder / "clone")
    (clone / "said.log").write_text("half\n")


def data(folder: Path) -> None:
    bare(folder)
    small_starter(folder / "clone")


def weights(folder: Path) -> None:
    data(folder)
    with begun(STEPS["tool_sft"], folder / "clone") as command:
        assert command.ends_within(600) == 0, command.said()


@pytest.fixture
def clone(tmp_path_factory, tmp_path):
    """Copies of a clone in the state of that name."""

    def copy(state: str, name: str = "clone") -> Path:
        whole = made_once(tmp_path_factory, f"clone-{state}", globals()[state])
        return copy_clone(whole / "clone", tmp_path / name)

    return copy


def begun(step: Step, clone: Path, whom: str = "") -> AbstractContextManager[Command]:
    """The step, running in that clone, with a stand-in for vLLM and a memory of servers of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        words = step.words.format(port=free.getsockname()[1])
    env = {
        "DANLU_STATE": str(clone / "state"),
        "DANLU_VLLM_PYTHON": str(clone / "vllm"),
        "OMP_NUM_THREADS": "1",
    }
    stand_in = shlex.join([sys.executable, str(STAND_IN)])
    (clone / "vllm").write_text(f'#!/bin/sh\nshift 2\nexec {stand_in} "$@"\n')
    (clone / "vllm").chmod(0o755)
    return running(["bash", "run_all.sh", *shlex.split(words)], clone, whom == "terminal", **env)


def things(clone: Path) -> dict[str, dict[str, dict[str, str]]]:
    return {name: made(clone / name) for name in ("out", "data") if (clone / name).exists()}


def comes_to_its_end(command: Command, step: Step) -> None:
    """Wait until it is done, or up and then stopped."""
    if step.up:
        assert command.says(step.up), command.said()
        command.signal(signal.SIGINT, "all")
    assert command.ends_within(600) in (ENDED | {0} if step.up else {0}), command.said()
    assert command.left() == []


def interrupted(
    command: Command,
    number: signal.Signals,
    whom: str,
    clone: Path,
    states: Sequence[dict],
    rough: bool = False,
) -> None:
    """Interrupt it now; it ends soon, in words, leaves nobody behind, and all as in one of the states."""
    command.signal(number, whom)
    status = command.ends_within(PATIENCE)
    told = command.said()
    assert status in ENDED, f"{status}: {told}"
    assert rough or "Traceback" not in told, told
    assert command.left() == [], told
    for place, names in things(clone).items():
        for name, content in names.items():
            known = [state.get(place, {}).get(name) for state in states]
            assert content in known, f"{place}/{name} is half made: {told}"


@pytest.fixture
def reference(tmp_path_factory, clone):
    """What a step that nobody interrupts makes of a clone in that state, and how long it takes."""

    def run(step: Step) -> tuple[dict, float]:
        def once(folder: Path) -> None:
            place = clone(step.on, "reference")
            began = time.monotonic()
            with begun(step, place) as command:
                comes_to_its_end(command, step)
            told = {"things": things(place), "took": time.monotonic() - began}
            (folder / "told.json").write_text(json.dumps(told))

        name = hashlib.sha256(repr(step).encode()).hexdigest()[:16]
        told = json.loads((made_once(tmp_path_factory, f"step-{name}", once) / "told.json").read_text())
        return told["things"], told["took"]

    return run


CASES = [
    pytest.param(name, seed, id=f"{name}-{seed}", marks=[] if step.quick else [pytest.mark.slow])
    for name, step in STEPS.items()
    for seed in ([1] if step.quick else [1, 2])
]


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_a_step_interrupted_anywhere_is_done_by_the_next_run(clone, reference, name, seed):
    step = STEPS[name]
    whole, took = reference(step)
    place = clone(step.on)
    states = whole, things(place)
    chance = random.Random(f"{name} {seed}")
    for number, whom in chance.sample(SIGNALS, 1 if step.quick else 3):
        moment = chance.uniform(0.05, took)
        with begun(step, place, whom) as command:
            if command.goes_on_for(moment):
                interrupted(command, number, whom, place, states, step.rough)
    with begun(step, place) as command:
        comes_to_its_end(command, step)
    assert things(place) == whole


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_whole_story_goes_on_where_it_was(clone, reference, seed):
    step = Step("--use-moe serve --port 0", "data", up="is served at")
    whole, _ = reference(step)
    place = clone("data")

    chance = random.Random(seed)
    saved = False
    for _ in range(7):
        number, whom = chance.choice(SIGNALS)
        with begun(step, place, whom) as command:
            if command.goes_on_for(chance.uniform(0.1, 14)):
                interrupted(command, number, whom, place, [whole])
            if saved:
                assert "resumed from" in command.said() or "no checkpoint" not in command.said()
            saved = "saving after this step" in command.said()
    with begun(step, place) as command:
        comes_to_its_end(command, step)
    assert things(place) == whole


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_setup_goes_on_where_it_was(tmp_path, seed):
    place = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, place], check=True)
    settings = {key: value for key, value in os.environ.items() if key.startswith("PIP_")}
    chance = random.Random(seed)
    for _ in range(5):
        number, whom = chance.choice(SIGNALS)
        with running(["bash", "run_all.sh", "setup"], place, whom == "terminal", **settings) as command:
            if command.goes_on_for(chance.uniform(0.2, 20)):
                interrupted(command, number, whom, place, [], rough=True)  # pip shows where it was
    for told in ("", "already set up"):
        with running(["bash", "run_all.sh", "setup"], place, **settings) as command:
            assert command.ends_within(1800) == 0 and told in command.said(), command.said()
    check = subprocess.run([place / ".venv/bin/python", "-m", "pip", "check"], capture_output=True, text=True)
    assert check.returncode == 0, check.stdout
