"""What became of rows that are encoded on the way, said once however often they are read.

    skipped: a.jsonl:8: not valid JSON: ...        the first of them, when they are met
    a.jsonl: 100 bad rows were skipped so far      then at 10, 100, 1,000 ...
    a.jsonl: 9,120 texts are longer than ...       at the end of the first epoch, or of the run

Rows count up to a mark, the end of what was said, which only moves on: a window read again, or another
epoch of the same rows, says nothing new.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from danlu.base.log import say
from danlu.data.encode import Tally

NAMED = 5  # bad rows that are said one by one

At = tuple[float, ...]
"""A place in the data: file, offset, number, and which sample of that row."""


class Loss(NamedTuple):
    """A row that was skipped."""

    at: At
    row: int
    problem: str


class Account:
    """What happened to the rows of some files since the process began."""

    def __init__(self, name: str, seq_len: int, where: Callable[[int], str]) -> None:
        self.name, self.seq_len, self.where = name, seq_len, where
        self.bad = 0
        self.tally = Tally()
        self._mark: At = ()

    def passed(self, losses: deque[Loss], to: At, tally: Tally, again: bool) -> None:
        """Take note of the rows up to a place; `again`: they were noted before this process began."""
        new = to > self._mark and not again
        while losses and losses[0].at <= to:
            loss = losses.popleft()
            if new and loss.at > self._mark:
                self._skipped(loss)
        if new:
            self.tally.add(tally)
            self._mark = to

    def ended(self, losses: deque[Loss], tally: Tally, again: bool) -> None:
        """Take note of the rows to the end of an epoch, and say what there is to say of it."""
        self.passed(losses, (math.inf,), tally, again)
        if not again:
            self.tell()

    def tell(self) -> None:
        """Say what happened, unless that is said."""
        if self.bad > NAMED:
            say(f"{self.name}: {self.bad:,} bad rows were skipped")
        if self.tally.rows:
            for line in self.tally.lines(self.seq_len):
                say(f"{self.name}: {line}")
        self.bad, self.tally = 0, Tally()

    def _skipped(self, loss: Loss) -> None:
        self.bad += 1
        if self.bad <= NAMED:
            say(f"skipped: {self.where(loss.row)}: {loss.problem}")
        elif math.log10(self.bad).is_integer():
            say(f"{self.name}: {self.bad:,} bad rows were skipped so far")
