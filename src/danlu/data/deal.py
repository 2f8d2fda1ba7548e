"""From samples to this rank's micro-batches, step by step.

    samples  --order-->  windows  --packing-->  rows  --cut-->  steps  --deal-->  ranks

Everything up to the deal is the same on every rank and for every number of ranks: row j of a step goes
to rank j modulo ranks. Each rank gets equally many micro-batches of the same shapes; where rows are
missing (the last step, an odd number) rows of padding stand in, which teach nothing and count nothing.
Rows that do not fill a step at the end of an epoch begin the first step of the next one, so within an
epoch no sample is lost or seen twice.

Letters: S samples of a micro-batch, N tokens of them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from danlu.data.batch import IGNORE, Batch, lay_out
from danlu.data.packing import Plan
from danlu.data.samples import Samples


class Cursor(NamedTuple):
    """The next row to hand out."""

    epoch: int = 0
    window: int = 0
    row: int = 0


class Dealer:
    """Makes the steps of one rank. Holds no position: that is the caller's cursor."""

    def __init__(
        self,
        samples: Samples,
        plan: Plan,
        rows_per_step: int,
        micro_batch: int,
        rank: int,
        ranks: int,
        pad_id: int,
    ) -> None:
        self.samples = samples
        self.plan = plan
        self.rows_per_step = rows_per_step
        self.rank, self.ranks = rank, ranks
        self.pad_id = pad_id
        self._sizes = _split(-(-rows_per_step // ranks), micro_batch)

    def steps(self, cursor: Cursor, epochs: int | None) -> Iterator[tuple[list[Batch], Cursor]]:
        """Yield this rank's part of each step from `cursor` on, and where the stream stands after it."""
        rows: list[list[int]] = []
        while epochs is None or cursor.epoch < epochs:
            plan = self.plan.rows(cursor.epoch, cursor.window)
            at = cursor.row
            while at < len(plan):
                taken = plan[at : at + self.rows_per_step - len(rows)]
                rows += taken
                at += len(taken)
                if len(rows) == self.rows_per_step:
                    yield self._deal(rows), self._settled(cursor._replace(row=at), len(plan))
                    rows = []
            cursor = self._settled(cursor._replace(row=at), len(plan))
        if rows:
            yield self._deal(rows), cursor

    def _settled(self, cursor: Cursor, rows: int) -> Cursor:
        """Return the cursor moved to the next window or epoch if it stands at the end of one."""
        if cursor.row < rows:
            return cursor
        last = cursor.window + 1 == self.plan.windows
        return Cursor(cursor.epoch + last, 0 if last else cursor.window + 1, 0)

    def _deal(self, rows: Sequence[list[int]]) -> list[Batch]:
        """Return this rank's micro-batches of a step's rows."""
        mine = rows[self.rank :: self.ranks]
        share = -(-len(rows) // self.ranks)  # of the rank that has most
        batches: list[Batch] = []
        begin = 0
        for size in self._sizes:
            if begin < share:
                part = list(mine[begin : begin + size])
                batches.append(self._batch(part + [[]] * (size - len(part))))
            begin += size
        return batches

    def _batch(self, rows: Sequence[Sequence[int]]) -> Batch:
        """Gather the samples of some rows into one micro-batch."""
        chosen = np.fromiter((sample for row in rows for sample in row), np.int64)
        taken = self.samples.take(chosen)
        labels_N, weights_N = taken.labels_N.astype(np.int64), taken.weights_N
        if weights_N is not None:
            labels_N[weights_N == 0] = IGNORE
            weights_N = weights_N if self.samples.weighted else None
        each = iter(taken.lengths_S.tolist())
        lengths = [[next(each) for _ in row] for row in rows]
        batch = lay_out(taken.tokens_N, labels_N, weights_N, lengths, self.plan.row, self.pad_id)
        batch.rows = np.unique(taken.rows_S).tolist()
        return batch


def _split(rows: int, size: int) -> list[int]:
    """Cut rows into micro-batches of at most `size` that differ by one row at most.

    >>> _split(10, 4)
    [4, 3, 3]
    """
    parts = -(-rows // size)
    return [rows // parts + (part < rows % parts) for part in range(parts)]
