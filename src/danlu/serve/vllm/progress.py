"""How far a server is on its way, told from its log.

    starting vLLM: reading weights  (12 s)
    starting vLLM: compiling, a minute the first time  (31 s)

The log is read as it grows; only a change of what is being done is said, or, on a terminal, one line is
written over.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

from danlu.base import log

WORD_EVERY = 15.0
"""Seconds after which a step that takes long is said again, where there is no terminal."""
# What a line of the log means that is being done, first to last; both servers' lines.
STEPS = (
    (r"non-default args|Resolved architecture", "reading the configuration"),
    (r"Initializing a V1 LLM engine", "starting the engine"),
    (r"Starting to load model|Loading safetensors", "reading weights"),
    (r"Loading weights took", "making room for the cache"),
    (
        r"Warming up model for the compilation|Compiling a graph",
        "compiling, a minute the first time",
    ),
    (r"Warming up done|init engine .* took", "opening the door"),
    (r"Application startup complete", "answering"),
)


class Tail:
    """A log that is read as it grows."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._held = b""

    def lines(self) -> list[str]:
        """Return the whole lines that came since the last question."""
        *whole, self._held = (self._held + self._file.read()).split(b"\n")
        return [line.decode(errors="replace") for line in whole]

    def close(self) -> None:
        """Read no more."""
        self._file.close()


def step_of(line: str) -> str | None:
    """Return what a line of the log says is being done.

    >>> step_of("INFO [default_loader.py:501] Loading weights took 0.01 seconds")
    'making room for the cache'
    """
    return next((step for pattern, step in STEPS if re.search(pattern, line)), None)


class Progress:
    """One line that is written over on a terminal, a line for each step elsewhere."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._began = self._last = time.monotonic()
        self._terminal = log.attended()
        self._step = ""

    @property
    def seconds(self) -> float:
        """Return how long it has taken so far."""
        return time.monotonic() - self._began

    def at(self, step: str) -> None:
        """Say what is being done, if it is news or has taken long."""
        now = time.monotonic()
        if self._terminal:
            self._say(f"\r\x1b[2K{self._what}: {step}  ({self.seconds:.0f} s)", end="")
        elif step != self._step or now - self._last >= WORD_EVERY:
            self._say(f"{self._what}: {step}  ({self.seconds:.0f} s)")
            self._last = now
        self._step = step

    def done(self) -> None:
        """End the line that was written over."""
        if self._terminal:
            self._say("\r\x1b[2K", end="")

    def _say(self, text: str, end: str = "\n") -> None:
        print(text, end=end, file=sys.stderr, flush=True)
