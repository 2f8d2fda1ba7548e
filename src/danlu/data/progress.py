"""How far encoding is, in words, every ten seconds.

encoding: 12,345 rows, 1,234,567 tokens/s, 43%, 5 min left
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from danlu.base.log import say
from danlu.data.parts import Part
from danlu.data.rows import Place
from danlu.data.shards import At

PATIENCE = 10.0  # seconds between two lines
BY_BYTES = (".jsonl", ".ndjson", ".json", ".txt", ".csv", ".tsv")


class Progress:
    """Counts what was done and says it now and then."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._sizes = [file.stat().st_size for file in files]
        self._by_bytes = [file.suffix.lower() in BY_BYTES for file in files]
        self.rows = self.tokens = 0
        self.start(At())

    def start(self, at: At) -> None:
        """Count the time from here on."""
        self._began = self._told = time.monotonic()
        self._before = self._share(at.file, at.place)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def add(self, part: Part) -> None:
        """Count a part in, and say how far that is if it is time to."""
        self.rows += part.story.tally.rows
        self.tokens += part.story.tally.tokens
        if time.monotonic() - self._told > PATIENCE:
            self._told = time.monotonic()
            say(self._line(self._share(part.file, part.after)), every_rank=True)

    def _share(self, file: int, place: Place) -> float:
        """Return how much of the input is done, as far as bytes tell."""
        done = sum(self._sizes[:file])
        if file < len(self._sizes) and self._by_bytes[file]:
            done += min(place.offset, self._sizes[file])
        return done / max(1, sum(self._sizes))

    def _line(self, share: float) -> str:
        line = f"encoding: {self.rows:,} rows, {self.tokens / self.seconds:,.0f} tokens/s"
        if share > self._before:
            left = self.seconds * (1 - share) / (share - self._before)
            line += f", {share:.0%}, {_span(left)} left"
        return line


def _span(seconds: float) -> str:
    """Return a time in words.

    >>> _span(40), _span(400), _span(40_000)
    ('40 s', '7 min', '11.1 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
