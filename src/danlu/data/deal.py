"""From windows to this rank's micro-batches, step by step.

    supply  --packing-->  rows  --cut-->  steps  --deal-->  ranks

Everything up to the deal is the same on every rank and for every number of ranks: row j of a step goes
to rank j modulo ranks. Each rank gets equally many micro-batches of the same shapes; where rows are
missing (the last step, an odd number, a batch that still grows) rows of padding stand in, which teach
nothing and count nothing. Rows that do not fill a step at the end of an epoch begin the first step of
the next one, so within an epoch no sample is lost or seen twice.

Letters: S samples of a micro-batch, N tokens of them all.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from danlu.data.batch import IGNORE, Batch, lay_out
from danlu.data.packing import Packer
from danlu.data.ramp import Ramp
from danlu.data.samples import Taken
from danlu.data.supply import Clock, Position, Supply, Window


@dataclass(frozen=True)
class Cursor:
    """Where a stream stands, between two steps."""

    position: Position
    """Of the window that holds the next row."""
    row: int = 0
    """The next row of that window."""
    step: int = 0
    """Steps handed out."""
    began: int = 0
    """Steps handed out when that window began."""
    tokens: tuple[int, ...] = ()
    """Tokens handed out of each source of a mixture."""

    def plain(self) -> dict[str, Any]:
        """Return the cursor as JSON would give it back."""
        return {**asdict(self), "tokens": list(self.tokens)}


Row = tuple[Window, list[int]]
"""Samples of one row, by their places in a window."""


class Dealer:
    """Makes the steps of one rank. Holds no position: that is the caller's cursor."""

    def __init__(
        self,
        supply: Supply,
        packer: Packer,
        ramp: Ramp,
        micro_batch: int,
        rank: int,
        ranks: int,
        pad_id: int,
    ) -> None:
        self.supply = supply
        self.packer = packer
        self.ramp = ramp
        self.rank, self.ranks = rank, ranks
        self.pad_id = pad_id
        self._sizes = _split(-(-ramp.full // ranks), micro_batch)

    def steps(self, cursor: Cursor, epochs: int | None) -> Iterator[tuple[list[Batch], Cursor]]:
        """Yield this rank's part of each step from `cursor` on, and where the stream stands after it."""
        step, at, clock = cursor.step, cursor.row, Clock(cursor.began, again=cursor.row > 0)
        tokens = np.array(cursor.tokens or [0] * len(self.supply.names), np.int64)
        rows: list[Row] = []
        if self._over(cursor.position, epochs):
            return
        for window in self.supply.windows(cursor.position, clock):
            packed = self.packer.rows(window.lengths_S, window.key)
            while at < len(packed):
                taken = packed[at : at + self.ramp.rows(step) - len(rows)]
                rows += [(window, row) for row in taken]
                at += len(taken)
                if window.source_S is not None:
                    tokens = tokens + _by_source(window, taken, len(tokens))
                if len(rows) == self.ramp.rows(step):
                    step += 1
                    so_far = tuple(tokens.tolist())
                    if at < len(packed):
                        after = Cursor(window.position, at, step, clock.step, so_far)
                    else:
                        after = Cursor(window.after, 0, step, step, so_far)
                    yield self._deal(rows), after
                    rows = []
            clock.step, clock.again, at = step, False, 0
            if self._over(window.after, epochs):
                break
        if rows:
            yield self._deal(rows), Cursor(window.after, 0, step + 1, step + 1, tuple(tokens.tolist()))

    def _over(self, position: Position, epochs: int | None) -> bool:
        return epochs is not None and self.supply.epoch(position) >= epochs

    def _deal(self, rows: Sequence[Row]) -> list[Batch]:
        """Return this rank's micro-batches of a step's rows."""
        mine = rows[self.rank :: self.ranks]
        share = -(-len(rows) // self.ranks)  # of the rank that has most
        batches: list[Batch] = []
        begin = 0
        for size in self._sizes:
            if begin < share:
                batches.append(self._batch(mine[begin : begin + size], size))
            begin += size
        return batches

    def _batch(self, rows: Sequence[Row], size: int) -> Batch:
        """Gather the samples of some rows into one micro-batch of `size` rows."""
        parts = []
        for _, group in itertools.groupby(rows, lambda row: id(row[0])):
            part = list(group)
            window = part[0][0]
            chosen = np.fromiter((place for _, row in part for place in row), np.int64)
            parts.append(window.samples.take(window.numbers_S[chosen]))
        taken = _joined(parts)
        labels_N, weights_N = taken.labels_N.astype(np.int64), taken.weights_N
        if weights_N is not None:
            labels_N[weights_N == 0] = IGNORE
        if not self.supply.weighted:
            weights_N = None
        elif weights_N is None:
            weights_N = np.ones(len(labels_N), np.float32)
        each = iter(taken.lengths_S.tolist())
        lengths = [[next(each) for _ in row] for _, row in rows]
        lengths += [[] for _ in range(size - len(rows))]
        batch = lay_out(taken.tokens_N, labels_N, weights_N, lengths, self.packer.row, self.pad_id)
        batch.rows = np.unique(taken.rows_S).tolist()
        return batch


def _joined(parts: list[Taken]) -> Taken:
    """Return samples of several windows end to end."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        nothing = np.zeros(0, np.int64)
        return Taken(nothing, nothing, None, nothing, nothing)
    weights_N = None
    if any(part.weights_N is not None for part in parts):
        weights_N = np.concatenate(
            [np.ones(len(p.labels_N), np.float32) if p.weights_N is None else p.weights_N for p in parts]
        )
    return Taken(
        np.concatenate([part.tokens_N for part in parts]),
        np.concatenate([part.labels_N for part in parts]),
        weights_N,
        np.concatenate([part.lengths_S for part in parts]),
        np.concatenate([part.rows_S for part in parts]),
    )


def _by_source(window: Window, rows: Sequence[list[int]], sources: int) -> np.ndarray:
    """Return how many tokens of each source some rows hold."""
    assert window.source_S is not None
    chosen = np.fromiter((place for row in rows for place in row), np.int64)
    sums = np.bincount(window.source_S[chosen], window.lengths_S[chosen], minlength=sources)
    return sums.astype(np.int64)


def _split(rows: int, size: int) -> list[int]:
    """Cut rows into micro-batches of at most `size` that differ by one row at most.

    >>> _split(10, 4)
    [4, 3, 3]
    """
    parts = -(-rows // size)
    return [rows // parts + (part < rows % parts) for part in range(parts)]
