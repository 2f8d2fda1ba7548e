"""Where the values of a JSON text begin and end, found a chunk at a time without parsing them.

Brackets, braces and commas count outside strings only. Within a chunk everything is done on arrays:
first the few bytes that can matter, then the strings among them by the parity of their quotes, then
depth as a running sum. It says nothing about whether the JSON between is right.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

QUOTE, COMMA, OPEN, CLOSE = range(1, 5)
KINDS = bytes(
    {0x22: QUOTE, 0x2C: COMMA, 0x5B: OPEN, 0x7B: OPEN, 0x5D: CLOSE, 0x7D: CLOSE}.get(b, 0) for b in range(256)
)
STEP = np.array([0, 0, 0, 1, -1], np.int32)
# In GB18030 the second byte of a character may be a bracket or a backslash.
WIDE = re.compile(rb"(?:[\x81-\xfe][\x30-\x39][\x81-\xfe][\x30-\x39]|[\x81-\xfe][\x40-\xfe])+")


class Marks(NamedTuple):
    """Commas, opening and closing brackets outside strings."""

    at: np.ndarray
    """Offset in the chunk."""
    kind: np.ndarray
    depth: np.ndarray
    """How many brackets are open after it."""


class Structure:
    """What is known of a JSON text up to where it was read."""

    def __init__(self, encoding: str, depth: int = 0) -> None:
        self._wide = encoding == "gb18030"
        self._within = 0
        self._depth = depth

    def take(self, data: bytes) -> int:
        """Return how much of a chunk can be looked at without what follows it."""
        end = len(data)
        while end and data[end - 1] == 0x5C:  # a backslash whose partner is not here yet
            end -= 1
        if self._wide:
            while end and data[end - 1] > 0x7F:
                end -= 1
            if end >= 2 and data[end - 2] > 0x7F:
                end = data.rfind(b"\n", 0, end) + 1 or end
        return end

    def look(self, data: bytes) -> Marks:
        """Return what is in the next chunk, which `take` has measured."""
        if self._wide:
            data = WIDE.sub(lambda found: b"_" * len(found[0]), data)
        if b"\\" in data:
            data = data.replace(b"\\\\", b"__").replace(b'\\"', b"__")
        kind = np.frombuffer(data.translate(KINDS), np.uint8)
        at = np.flatnonzero(kind != 0)
        kind = kind[at]
        within = (self._within + np.cumsum(kind == QUOTE, dtype=np.int32)) & 1
        if len(within):
            self._within = int(within[-1])
        keep = (within == 0) & (kind != QUOTE)
        at, kind = at[keep], kind[keep]
        depth = self._depth + np.cumsum(STEP[kind], dtype=np.int32)
        if len(depth):
            self._depth = int(depth[-1])
        return Marks(at, kind, depth)
