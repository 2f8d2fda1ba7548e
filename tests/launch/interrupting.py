"""Commands that are interrupted, and what they must not leave: processes, and names that are half made.

A command and whatever it starts carry a mark in their environment, by which they are found again, whichever
session or group they have moved to and whoever has become their parent.

    with running(["bash", "run_all.sh", "sft"], clone) as command:
        command.goes_on_for(1.5)
        command.signal(signal.SIGINT, "all")
        assert command.ends_within(20) == 130
    assert command.left() == []
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import signal
import subprocess
import tempfile
import termios
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import psutil

from shell import CLEAN

MARK = "DANLU_TEST_MARK"
GRACE = 5.0  # seconds a process that was told to end may still be seen


class Command:
    """A command in a group of its own, or on a terminal of its own, and all that it has started."""

    def __init__(self, words: Sequence[str | Path], cwd: Path, env: dict[str, str], terminal: bool = False):
        self.mark = uuid.uuid4().hex
        self._said = tempfile.NamedTemporaryFile("w+b")
        self._terminal, ends = -1, (subprocess.DEVNULL, self._said, self._said)
        if terminal:
            self._terminal, inside = os.openpty()
            ends = (inside, inside, inside)
        self.process = subprocess.Popen(
            list(map(str, words)),
            cwd=cwd,
            env=CLEAN | env | {MARK: self.mark, "TERM": "xterm"},
            **dict(zip(("stdin", "stdout", "stderr"), ends)),
            start_new_session=True,
            preexec_fn=partial(self._begin, terminal),
        )
        if terminal:
            os.close(inside)
            threading.Thread(target=self._listen, daemon=True).start()

    @staticmethod
    def _begin(terminal: bool) -> None:
        # Whoever runs tests in the background ignores SIGINT, and hands that down.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if terminal:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def _listen(self) -> None:
        with contextlib.suppress(OSError):  # its last process has left the terminal
            while heard := os.read(self._terminal, 65536):
                self._said.write(heard)
                self._said.flush()

    def goes_on_for(self, seconds: float) -> bool:
        """Let it run for so long; whether it is still there then."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.returncode is None

    def says(self, words: str, within: float = 120.0) -> bool:
        """Wait until it has said these words; whether it has before its end."""
        until = time.monotonic() + within
        while words not in self.said() and self.goes_on_for(0.05) and time.monotonic() < until:
            continue
        return words in self.said()

    def signal(self, number: signal.Signals, whom: str) -> None:
        """To all of its group, or, as `kill` does, to the first process alone, or typed at its terminal."""
        if whom == "terminal":
            os.write(self._terminal, b"\x03")
        elif self.process.poll() is None:
            (os.killpg if whom == "all" else os.kill)(self.process.pid, number)

    def ends_within(self, seconds: float) -> int:
        """Its status; it is an error if it has not ended by then."""
        return self.process.wait(seconds)

    def said(self) -> str:
        return Path(self._said.name).read_text(encoding="utf-8", errors="replace")

    def marked(self) -> list[psutil.Process]:
        """The processes that carry its mark, itself included."""
        found = []
        for one in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if one.environ().get(MARK) == self.mark and one.status() != psutil.STATUS_ZOMBIE:
                    found.append(one)
        return found

    def left(self) -> list[str]:
        """The commands of the processes it has left behind, after a moment to go."""
        _, alive = psutil.wait_procs(self.marked(), timeout=GRACE)
        told = []
        for one in alive:
            with contextlib.suppress(psutil.Error):
                told.append(" ".join(one.cmdline()))
        return told

    def kill(self) -> None:
        """End all of it, whatever it does."""
        for one in self.marked():
            with contextlib.suppress(psutil.Error):
                one.kill()
        self.process.wait()
        if self._terminal >= 0:
            os.close(self._terminal)


@contextlib.contextmanager
def running(words: Sequence[str | Path], cwd: Path, terminal: bool = False, **env: str) -> Iterator[Command]:
    command = Command(words, cwd, env, terminal)
    try:
        yield command
    finally:
        command.kill()


def made(folder: Path) -> dict[str, dict[str, str]]:
    """What a person sees in a folder: of every name there, its files' contents, as numbers.

    Half-written things have names that begin with a dot, which nobody takes for a result; they are not told.
    """
    names = [each for each in sorted(folder.glob("[!.]*")) if each.name != "logs"]
    return {each.name: {str(file.relative_to(each)): digest(file) for file in files(each)} for each in names}


def files(place: Path) -> list[Path]:
    """The weights and data of a result; what tells of times and of runs differs from one to the next."""
    if place.is_file():
        return [place]
    return sorted(file for file in place.rglob("*") if file.suffix in (".safetensors", ".jsonl", ".csv"))


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
