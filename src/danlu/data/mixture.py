"""A mixture of supplies by weight, exact instead of random: each draw pays the largest debt.

    owed     what each source should have had by now, less what it had; they add up to 0
    a draw   goes to the source with the largest debt; then every debt grows by its weight times what
             was drawn (1, or the sample's tokens), and that of the source falls by what was drawn

So every source stays within about one sample (or one sample's tokens) of its share at any moment, and
nothing is left to luck. Weights may change with the optimiser step; within a window the step is told
from the tokens drawn since the window began, where the stream says which step that was.

Every source goes through epochs of its own, in an order of its own, whatever the others do: none loses
a sample, and none is read again before it ended. What an epoch of the mixture is says `stop`:

    never   as many samples as all sources hold together; needs their sizes
    first   it ends when the source that is furthest ahead ends one
    all     it ends when the source that is furthest behind ends one

The position is two numbers for each source and one for all, and the sources' own positions.

Letters: S samples of a window, K sources.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from danlu.data.drawing import Drawn, Reader
from danlu.data.order import mix
from danlu.data.recipe import Recipe
from danlu.data.rows import row_id, split_row
from danlu.data.samples import Samples, Shard
from danlu.data.supply import WINDOW, Clock, Position, Supply, Window, context_of, first_window

SAME = 64  # draws for which weights are taken to stay as they are


class Mixture:
    """Several supplies as one."""

    def __init__(
        self,
        recipe: Recipe,
        supplies: Sequence[Supply],
        step_size: Callable[[int], int],
        seed: int,
        shuffle: bool = True,
        window: int = WINDOW,
        by_samples: bool = False,
    ) -> None:
        """`step_size` tells how many tokens (or, `by_samples`, how many samples) a step takes."""
        self.recipe = recipe
        self.supplies = list(supplies)
        self.names = tuple(part.name for part in recipe.sources)
        self.step_size = step_size
        self.by_samples = by_samples
        self.bases = np.cumsum([0, *(supply.files for supply in supplies)]).tolist()
        self.files = self.bases[-1]
        self.seed, self.shuffle, self.window = seed, shuffle, window
        self.weighted = any(supply.weighted for supply in supplies)
        self.constant = all(len(p.weight) == 1 and p.weight[0].to is None for p in recipe.sources)
        data = json.dumps([supply.identity for supply in supplies]).encode()
        self.identity: dict[str, Any] = {
            "data": hashlib.sha256(data).hexdigest()[:32],
            "mixture": recipe.model_dump(mode="json", include={"level", "stop"})
            | {"weights": [[p.model_dump(mode="json") for p in part.weight] for part in recipe.sources]},
            "seed": seed,
            "shuffle": shuffle,
            "window": window,
        }

    @property
    def mean_context(self) -> float:
        return context_of(first_window(self).lengths_S)

    def start(self) -> Position:
        sources = [{"at": supply.start(), "next": 0} for supply in self.supplies]
        return {"drawn": 0, "owed": [0.0] * len(sources), "sources": sources}

    def size(self) -> int | None:
        sizes = [supply.size() for supply in self.supplies]
        return None if None in sizes else sum(size or 0 for size in sizes)

    def epoch(self, position: Position) -> int:
        if self.recipe.stop == "never":
            size = self.size()
            return position["drawn"] // size if size else 0
        passes = [s.epoch(each["at"]) for s, each in zip(self.supplies, position["sources"])]
        return max(passes) if self.recipe.stop == "first" else min(passes)

    def where(self, row: int) -> str:
        """Return the file and line of a row; files are numbered through all sources."""
        file, number = split_row(row)
        source = bisect_right(self.bases, file) - 1
        return self.supplies[source].where(row_id(file - self.bases[source], number))

    def tell(self) -> None:
        for supply in self.supplies:
            supply.tell()

    def windows(self, position: Position, clock: Clock) -> Iterator[Window]:
        readers = [
            Reader(supply, each, base, clock)
            for supply, each, base in zip(self.supplies, position["sources"], self.bases)
        ]
        while True:
            window = self._window(position, readers, clock.step)
            yield window
            position = window.after

    def _window(self, position: Position, readers: list[Reader], began: float) -> Window:
        """Draw samples until the window is full or an epoch of the mixture ends."""
        epoch = self.epoch(position)
        owed, drawn = list(position["owed"]), position["drawn"]
        size = self.size() if self.recipe.stop == "never" else None
        room = self.window if size is None else min(self.window, size - drawn % size)
        picks: list[int] = []
        step, over = began, False
        while room and not over:
            many = min(self.window if self.constant else SAME, room)
            tokens = sum(reader.tokens for reader in readers)
            chosen, owed, over = self._draw(owed, self.recipe.weights(step), many, readers)
            picks += chosen
            room -= len(chosen)
            tokens = sum(reader.tokens for reader in readers) - tokens
            step += (len(chosen) if self.by_samples else tokens) / self.step_size(int(step))
        parts = [reader.give() for reader in readers]
        after = {
            "drawn": drawn + len(picks),
            "owed": owed,
            "sources": [reader.position() for reader in readers],
        }
        assert self.epoch(after) <= epoch + 1
        key = mix(self.seed, drawn) if self.shuffle else None
        return _woven(position, after, np.array(picks), parts, key)

    def _draw(
        self, owed: list[float], weights: list[float], many: int, readers: list[Reader]
    ) -> tuple[list[int], list[float], bool]:
        """Return up to `many` sources to draw from, what is owed then, and whether an epoch is over."""
        by_token = self.recipe.level == "token"
        lengths = [reader.ahead(many if weight else 0) for reader, weight in zip(readers, weights)]
        picks, after = _pay(owed, weights, many, lengths if by_token else None)
        over = False
        if self.recipe.stop != "never" and (end := self._end(picks, readers)) <= many:
            picks, after = _pay(owed, weights, end, lengths if by_token else None)
            over = True
        counts = np.bincount(np.array(picks, np.int64), minlength=len(readers)).tolist()
        for reader, count, length in zip(readers, counts, lengths):
            reader.take(count, sum(length[:count]))
        return picks, after, over

    def _end(self, picks: list[int], readers: list[Reader]) -> int:
        """Return after how many of these draws an epoch of the mixture ends."""
        chosen = np.array(picks, np.int64)
        passes = [reader.epoch for reader in readers]
        ends: list[tuple[int, int]] = []  # (after so many draws, a source has ended an epoch)
        for number, reader in enumerate(readers):
            at = np.flatnonzero(chosen == number)
            ends += [(int(at[left - 1]) + 1, number) for left in reader.ends() if left <= len(at)]
        limit = max if self.recipe.stop == "first" else min
        before = limit(passes)
        for after, number in sorted(ends):
            passes[number] += 1
            if limit(passes) > before:
                return after
        return len(picks) + 1


def _pay(
    owed: Sequence[float], weights: Sequence[float], many: int, lengths: list[list[int]] | None
) -> tuple[list[int], list[float]]:
    """Return `many` draws, each paying the largest debt, and what is owed then.

    >>> _pay([0.0, 0.0], [0.75, 0.25], 5, None)[0]
    [0, 0, 1, 0, 0]
    """
    active = [number for number, weight in enumerate(weights) if weight > 0]
    share = [weights[number] for number in active]
    debt = [owed[number] for number in active]
    picks: list[int] = []
    if lengths is None:
        for _ in range(many):
            debt = [each + grown for each, grown in zip(debt, share)]
            place = debt.index(max(debt))
            debt[place] -= 1.0
            picks.append(place)
    else:
        coming = [iter(lengths[number]) for number in active]
        for _ in range(many):
            next_debt = [each + grown for each, grown in zip(debt, share)]  # so that ties go by weight
            place = next_debt.index(max(next_debt))
            length = next(coming[place])
            debt = [each + grown * length for each, grown in zip(debt, share)]
            debt[place] -= length
            picks.append(place)
    after = list(owed)
    for number, value in zip(active, debt):
        after[number] = value
    return [active[place] for place in picks], after


def _woven(
    position: Position, after: Position, source_S: np.ndarray, parts: list[list[Drawn]], key: int | None
) -> Window:
    """Return a window that holds the samples of each source at the places drawn for it."""
    numbers_S, lengths_S = np.empty((2, len(source_S)), np.int64)
    shards: list[Shard] = []
    begins: dict[int, int] = {}  # where the samples of each list of shards are numbered from
    size = 0
    for number, drawn in enumerate(parts):
        for part in drawn:
            if id(part.shards) not in begins:
                begins[id(part.shards)] = size
                shards += part.shards
                size += sum(map(len, part.shards))
        if drawn:
            mine = np.flatnonzero(source_S == number)
            numbers_S[mine] = np.concatenate([part.numbers + begins[id(part.shards)] for part in drawn])
            lengths_S[mine] = np.concatenate([part.lengths for part in drawn])
    return Window(position, after, Samples(shards), numbers_S, lengths_S, key, source_S)
