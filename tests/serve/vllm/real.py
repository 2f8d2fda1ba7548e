"""A real vLLM under a block of a test, started and ended as a user does it: by `danlu vllm`."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from shell import ROOT

# One at a time: on a small machine two of them starve each other.
QUICKLY = ("--enforce-eager",)
"""Compiling takes longer than a test asks."""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def danlu(place: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Run `danlu vllm` with what it remembers in a folder of the test's own."""
    own = {
        "DANLU_STATE": str(place / "state"),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    }
    env = {key: value for key, value in os.environ.items() if not key.startswith(("DANLU_", "VLLM_"))}
    command = [sys.executable, "-m", "danlu", "vllm", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env | own)


@contextlib.contextmanager
def vllm(folder: Path, place: Path, *words: object) -> Iterator[tuple[str, str]]:
    """Serve an export, and yield where it answers and what was said on the way."""
    port = free_port()
    done = danlu(place, folder, "--port", port, "--device", "cpu", "--detach", *words, "--", *QUICKLY)
    assert done.returncode == 0, done.stderr
    try:
        yield f"http://127.0.0.1:{port}", done.stderr
    finally:
        stopped = danlu(place, "stop", port)
        assert "was stopped" in stopped.stderr, stopped.stderr
