"""One source of a mixture, sample by sample, across its windows."""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np

from danlu.data.samples import Samples, Shard
from danlu.data.supply import Clock, Position, Supply, Window


class Drawn(NamedTuple):
    """Some samples of one source, in order."""

    shards: list[Shard]
    numbers: np.ndarray
    lengths: np.ndarray


class Reader:
    """One source, sample by sample: what was drawn since the last window, and what comes next."""

    def __init__(self, supply: Supply, position: Position, base: int, clock: Clock) -> None:
        self.supply = supply
        self._base = base
        self._marked: tuple[Samples, list[Shard]] | None = None
        self.tokens = 0
        """Drawn since the last window was given."""
        self._coming = supply.windows(position["at"], clock)
        self._held: list[Window] = []
        self._begin = self._end = position["next"]  # drawn since then, counted from the first window held
        self._position = position

    @property
    def epoch(self) -> int:
        """How many epochs of the source were drawn whole."""
        return self.supply.epoch(self.position()["at"])

    def ahead(self, many: int) -> list[int]:
        """Return the lengths of the next `many` samples."""
        while self._size() - self._end < many:
            self._held.append(next(self._coming))
        parts: list[int] = []
        skip = self._end
        for window in self._held:
            if skip < len(window.lengths_S) and len(parts) < many:
                parts += window.lengths_S[skip : skip + many - len(parts)].tolist()
            skip = max(0, skip - len(window.lengths_S))
        return parts

    def ends(self) -> list[int]:
        """Return after how many more samples an epoch ends, for all ends among the samples held."""
        ends, seen = [], -self._end
        for window in self._held:
            seen += len(window.lengths_S)
            if seen > 0 and self.supply.epoch(window.after) > self.supply.epoch(window.position):
                ends.append(seen)
        return ends

    def take(self, many: int, tokens: int) -> None:
        """Count the next samples as drawn, which have so many tokens."""
        self.tokens += tokens
        self._end += many

    def position(self) -> Position:
        """Return where the source stands after what was drawn."""
        at = self._end
        place = self._position["at"] if not self._held else self._held[0].position
        for window in self._held:
            if at < len(window.lengths_S):
                return {"at": window.position, "next": at}
            at -= len(window.lengths_S)
            place = window.after
        return {"at": place, "next": at}

    def give(self) -> list[Drawn]:
        """Return what was drawn since it was last asked."""
        parts: list[Drawn] = []
        begin, end = self._begin, self._end
        for window in self._held:
            size = len(window.lengths_S)
            piece = slice(min(begin, size), min(end, size))
            if piece.start < piece.stop:
                shards = self._shards(window.samples)
                parts.append(Drawn(shards, window.numbers_S[piece], window.lengths_S[piece]))
            begin, end = max(0, begin - size), max(0, end - size)
        self._position = self.position()
        while self._held and self._end >= len(self._held[0].lengths_S):
            self._end -= len(self._held.pop(0).lengths_S)
        self._begin = self._end
        self.tokens = 0
        return parts

    def _shards(self, samples: Samples) -> list[Shard]:
        """Return the shards of samples, their files numbered as the mixture numbers them."""
        if self._marked is None or self._marked[0] is not samples:
            shards = [copy.copy(shard) for shard in samples.shards]
            for shard in shards:
                shard.file += self._base
            self._marked = samples, shards
        return self._marked[1]

    def _size(self) -> int:
        return sum(len(window.lengths_S) for window in self._held)
