"""A preparation that is stopped ends at once and whole, and takes the same memory for any input."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from corpus import texts

ENV = {**os.environ, "PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setitem(ENV, "DANLU_CACHE", str(tmp_path / "cache"))


def test_a_killed_worker_is_an_error_in_words_and_nothing_is_left_running(tmp_path):
    path = texts(tmp_path / "a.jsonl", 60_000)
    process = subprocess.Popen(
        [sys.executable, "-m", "danlu", "data", "prepare", path, "--out", tmp_path / "out", "--workers", "2"],
        env=ENV,
        stderr=subprocess.PIPE,
        text=True,
    )
    workers = wait_for(lambda: len(found := children(process.pid)) == 2 and found)
    os.kill(workers[0], signal.SIGKILL)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 2 and "Traceback" not in told
    assert "error: a process that encodes was killed (signal 9), most likely because memory ran out" in told
    wait_for(lambda: not any(map(alive, workers)))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_when_it_is_stopped_its_processes_end_too(tmp_path, how):
    path = texts(tmp_path / "a.jsonl", 60_000)
    process = subprocess.Popen(
        [sys.executable, "-m", "danlu", "data", "prepare", path, "--out", tmp_path / "out", "--workers", "2"],
        env=ENV,
        stderr=subprocess.PIPE,
        text=True,
    )
    workers = wait_for(lambda: len(found := children(process.pid)) == 2 and found)
    time.sleep(0.3)
    process.send_signal(how)
    _, told = process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGINT else -how) and "Traceback" not in told
    wait_for(lambda: not any(map(alive, workers)))


def children(process):
    try:
        with open(f"/proc/{process}/task/{process}/children") as file:
            return [int(child) for child in file.read().split()]
    except FileNotFoundError:
        return []


def alive(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(what, seconds=30):
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.01)
    return found


MEMORY = """
import resource, sys
from danlu.data_prepare import command
command.main(sys.argv[1:], standalone_mode=False)
print(max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_input(tmp_path):
    """Twice the input, of words that never come again, takes the same memory, in whichever process."""
    peaks = []
    for size in (30, 60):
        path = tmp_path / f"{size}.jsonl"
        digits = random.Random(0)
        with path.open("w") as file:
            while file.tell() < size * 1e6:
                file.write(
                    json.dumps({"text": " ".join(f"w{digits.getrandbits(40):x}" for _ in range(80))}) + "\n"
                )
        words = [path, "--out", tmp_path / f"out{size}", "--workers", 2, "--shard-tokens", 5_000_000]
        told = subprocess.run(
            [sys.executable, "-c", MEMORY, *map(str, words)],
            env=ENV,
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(told.stdout))
    assert peaks[1] < peaks[0] * 1.1 + 10_000, peaks


def test_a_disk_that_is_full_is_named_and_left_clean(tmp_path):
    path = texts(tmp_path / "a.jsonl", 20_000)
    words = f"{sys.executable} -m danlu data prepare {path} --out {tmp_path / 'out'} --shard-tokens 100000"
    full = subprocess.run(
        ["bash", "-c", f"ulimit -f 100; {words}"], env=ENV, capture_output=True, text=True, timeout=60
    )
    assert full.returncode == 2 and "File too large" in full.stderr and "goes on" in full.stderr
    assert len(full.stderr.strip().splitlines()) == 2
    assert not list((tmp_path / "out").glob("[0-9]*")) and not list((tmp_path / "out").glob(".0*"))
    assert subprocess.run(words.split(), env=ENV, capture_output=True, timeout=60).returncode == 0
