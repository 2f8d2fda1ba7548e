"""Child processes on a stand-in chip: our commands, several ranks of them, and a pytest of its own.

    done = run("910B3", "-m", "danlu", "info")        one process
    done = ranks("910A", 2, "-m", "danlu", "train")   torchrun's, each on its own chip
    inside("910A", "on_chip_device.py")               that file's tests, in one process on that chip

Only children ever load torch_npu: it changes torch for everything else in a process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from standin import build

HERE = Path(__file__).resolve().parent


def environment(chip: str, **more: str) -> dict[str, str]:
    """Return the whole environment of a child on a chip, or skip the test and say why."""
    why = build.why_not()
    if why:
        pytest.skip(why)
    quiet = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    return {**os.environ, **build.standing_in(chip), **quiet, **more}


def run(chip: str, *words: str, seconds: float = 900, **more: str) -> subprocess.CompletedProcess[str]:
    """Run Python on a chip to its end."""
    return subprocess.run(
        [sys.executable, *words],
        env=environment(chip, **more),
        capture_output=True,
        text=True,
        timeout=seconds,
    )


def ranks(chip: str, count: int, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run Python on so many chips, one process each."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    return run(chip, *launcher, *words, **more)


def inside(chip: str, *files: str, **more: str) -> None:
    """Run the tests of these files in one process on a chip; they fail here as they fail there."""
    words = [
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-o",
        "python_files=on_chip_*.py",
    ]
    words += ["-W", "ignore", "--show-capture=no"]
    done = run(chip, *words, *(str(HERE / file) for file in files), **more)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
