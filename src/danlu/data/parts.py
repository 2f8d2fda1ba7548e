"""A block of rows as arrays: the work of one process, which needs nothing but the block.

    BlockEncoder(kind, tokenizer, options, reading)((file, block)) -> Part

A part holds the samples of a block in the form of a shard (see samples.py), counted from the block's
beginning, with what happened on the way. A row that cannot be read, or whose chat no template renders,
is in `bad`; the others are encoded all the same, so that whoever gets the part decides.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from danlu.base.errors import UserError, pick
from danlu.data.encode import KINDS, Options, Sample, Tally, ids_dtype
from danlu.data.formats import Block, Reading
from danlu.data.rows import BadRow, Place
from danlu.data.sources import Found, told
from danlu.tokenizer.tokenizer import Tokenizer

VERSION = 2  # of the encoding; raise it when the same input would give other arrays
TOGETHER = 1024  # records encoded at a time
WEIGHTS = 256  # different ones that a table holds


class Bad(NamedTuple):
    """A row that is left out."""

    row: int
    problem: str
    hint: str


@dataclass
class Story:
    """What happened to some rows."""

    tally: Tally = field(default_factory=Tally)
    shapes: Counter[str] = field(default_factory=Counter)
    bad: list[Bad] = field(default_factory=list)

    def accepts(self, found: Found) -> bool:
        """Return whether a row could be read, and note it if not."""
        if isinstance(found.record, BadRow):
            self.bad.append(Bad(found.row, str(found.record), found.record.hint))
            return False
        return True


@dataclass
class Part:
    """The samples of some rows that follow each other."""

    file: int
    first: Place | None
    """Of the first row, usable or not; None if there is none."""
    after: Place
    """Where reading goes on."""
    tokens: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    rows: np.ndarray
    codes: np.ndarray | None = None
    table: list[float] = field(default_factory=lambda: [1.0])
    story: Story = field(default_factory=Story)


@dataclass(frozen=True)
class BlockEncoder:
    """All that decides what a row becomes, beside the row; can be pickled."""

    kind: str
    tokenizer: Tokenizer
    options: Options
    reading: Reading

    def __post_init__(self) -> None:
        pick("kind of data", self.kind, KINDS)
        weight, seq_len = self.options.tag_weight, self.options.seq_len
        if not (math.isfinite(weight) and weight > 0):
            raise UserError(f"tag_weight: found {weight}", "a number above 0, such as 10")
        if seq_len < 1:
            raise UserError(f"seq_len: found {seq_len}", "a number of tokens, such as 512")
        self.described()  # which wants a chat template for chats

    def described(self) -> dict[str, Any]:
        """Return it as JSON: equal descriptions, equal results."""
        return {
            "version": VERSION,
            "kind": self.kind,
            "tokenizer": self.tokenizer.fingerprint,
            "template": self.tokenizer.chat_template if self.kind == "chat" else None,
            "options": self.options._asdict(),
            "reading": asdict(self.reading),
        }

    def __call__(self, task: tuple[int, Block]) -> Part:
        """Return what a block of a file (by its number) holds."""
        file, block = task
        return self.part(file, self.rows(task), block.after)

    def rows(self, task: tuple[int, Block]) -> list[Found]:
        """Return what the rows of a block of a file are."""
        file, block = task
        return list(told(block, file, self.kind, self.reading))

    def part(self, file: int, rows: Sequence[Found], after: Place) -> Part:
        """Return what these rows hold."""
        story = Story()
        good = [found for found in rows if story.accepts(found)]
        samples: list[Sample] = []
        for begin in range(0, len(good), TOGETHER):
            samples += self.samples(good[begin : begin + TOGETHER], story)
        story.bad.sort()
        first = rows[0].place if rows else None
        return gathered(samples, ids_dtype(self.tokenizer), file, first, after, story)

    def until(self, rows: Sequence[Found], room: int) -> int:
        """Return how many rows it takes to fill so many tokens, looking at one after the other."""
        for number, found in enumerate(rows, 1):
            room -= len(self.part(0, [found], found.place).tokens)
            if room <= 0:
                return number
        return len(rows)

    def samples(self, rows: list[Found], story: Story) -> list[Sample]:
        """Return the samples of some rows; if one of them is refused, look which."""
        records = [(found.row, found.record) for found in rows if not isinstance(found.record, BadRow)]
        tally = Tally(rows=len(rows))
        try:
            made = list(KINDS[self.kind](self.tokenizer, records, self.options, tally))
        except UserError as error:
            if len(rows) == 1:
                story.bad.append(Bad(rows[0].row, error.problem, error.hint))
                return []
            return [sample for row in rows for sample in self.samples([row], story)]
        story.tally.add(tally)
        story.shapes.update(found.shape for found in rows)
        return made


def gathered(
    samples: Sequence[Sample], dtype: type, file: int, first: Place | None, after: Place, story: Story
) -> Part:
    """Return samples end to end, and count them."""
    ids = [sample.ids for sample in samples]
    tokens: np.ndarray = np.concatenate(ids, dtype=dtype, casting="unsafe") if ids else np.zeros(0, dtype)
    sizes, pieces = _counts(ids), _counts([sample.cuts for sample in samples])
    cuts = np.array([cut for sample in samples for cut in sample.cuts], np.int64).reshape(-1, 2)
    starts = cuts[:, 0] + np.repeat(np.cumsum(sizes) - sizes, pieces)
    lengths = cuts[:, 1].astype(np.int32)
    rows = np.repeat(np.array([sample.row for sample in samples], np.int64), pieces)
    part = Part(file, first, after, tokens, starts, lengths, rows, story=story)
    learned = places = int(cuts[:, 1].sum())
    if any(sample.weights is not None for sample in samples):
        weights = np.concatenate(
            [np.ones(len(s.ids), np.float32) if s.weights is None else s.weights for s in samples]
        )
        part.table, part.codes = coded(weights)
        before = np.concatenate([[0], np.cumsum(weights != 0)])  # learned tokens before each place
        learned = int((before[starts + 1 + cuts[:, 1]] - before[starts + 1]).sum())
    story.tally.add(Tally(samples=len(cuts), tokens=places, learned=learned))
    return part


def _counts(lists: Iterable[Any]) -> np.ndarray:
    return np.fromiter(map(len, lists), np.int64)


def coded(weights: np.ndarray) -> tuple[list[float], np.ndarray]:
    """Return the different weights as they come, and which of them each is.

    >>> coded(np.array([1, 0, 1, 2.5]))
    ([1.0, 0.0, 2.5], array([0, 1, 0, 2], dtype=uint8))
    """
    table, firsts, codes = np.unique(weights, return_index=True, return_inverse=True)
    order = np.argsort(firsts)
    checked(table.tolist())
    return table[order].tolist(), np.argsort(order).astype(np.uint8)[codes]


def checked(table: list[float]) -> list[float]:
    """Return a table of weights that a byte can point into."""
    if len(table) > WEIGHTS:
        raise UserError("the chats have more than 256 different loss weights", "round their loss_weight")
    return table
