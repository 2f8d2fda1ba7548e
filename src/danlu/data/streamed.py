"""Rows read in order and encoded as they come: no cache, no waiting, and no shuffling but within a window.

    position  {"epoch": 0, "file": 2, "offset": 8123, "number": 41, "cut": 3}

which means: go to that place of that file, encode the row there, and pass over its first 3 samples. So
going on costs one window at most, wherever it is, and a text that fills several windows loses nothing.

Every rank reads and encodes the same windows and keeps the rows dealt to it; that is what makes the
steps the same at any number of ranks. A bad row, or one that cannot be encoded, is refused with its file
and line, or skipped and said, as asked: see account.py.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from danlu.base.errors import UserError
from danlu.data.account import Account, At, Loss
from danlu.data.encode import Sample, Tally, ids_dtype
from danlu.data.order import Order, mix
from danlu.data.parts import BlockEncoder, Story, gathered
from danlu.data.rows import START, Place, split_row
from danlu.data.samples import Samples, Shard
from danlu.data.sources import Found, Source
from danlu.data.supply import WINDOW, Clock, Position, Window, context_of, first_window
from danlu.tokenizer.tokenizer import Tokenizer

TOGETHER = 256  # rows encoded at a time
GLIMPSE = 1 << 16  # bytes at either end of a file that tell it from others


@dataclass(frozen=True)
class Encoding:
    """How rows become samples."""

    encoder: BlockEncoder
    on_bad_row: str = "refuse"
    """refuse, or skip."""
    workers: int = 0
    """Processes that encode into the cache."""


class _Cut(NamedTuple):
    """One sample of a row: which row, which of its samples, and the position after it."""

    file: int
    place: Place
    cut: int
    sample: Sample

    @property
    def at(self) -> At:
        return (self.file, *self.place, self.cut)


class Streamed:
    """The rows of some files, encoded on the way."""

    names: tuple[str, ...] = ()

    def __init__(
        self,
        paths: Sequence[str | Path],
        encoding: Encoding,
        seed: int,
        shuffle: bool = True,
        window: int = WINDOW,
    ) -> None:
        self.encoder, self.on_bad_row = encoding.encoder, encoding.on_bad_row
        self.source = Source(paths, self.encoder.kind, self.encoder.reading)
        self.files = len(self.source.files)
        self.seed, self.shuffle, self.window = seed, shuffle, window
        self.weighted = self.encoder.kind != "pretrain"
        self.where = self.source.where
        self._name = ", ".join(map(str, paths))
        self._account = Account(self._name, self.encoder.options.seq_len, self.where)
        self.tell = self._account.tell
        self.identity: dict[str, Any] = {
            "data": self._key(),
            "streamed": True,
            "seed": seed,
            "shuffle": shuffle,
            "window": window,
        }

    def _key(self) -> str:
        """Return what names the samples: how they are encoded, and what tells each file from others."""
        files = [[type(file).__name__, *_glimpse(file.path)] for file in self.source.files]
        parts = [self.encoder.described(), self.on_bad_row, files]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]

    @functools.cached_property
    def mean_context(self) -> float:
        return context_of(first_window(self).lengths_S)

    def start(self) -> Position:
        return {"epoch": 0, "file": 0, "offset": 0, "number": 0, "cut": 0}

    def epoch(self, position: Position) -> int:
        return int(position["epoch"])

    def size(self) -> int | None:
        return None

    def windows(self, position: Position, clock: Clock) -> Iterator[Window]:
        while True:
            found = False
            for window in self._epoch(position, clock):
                found = True
                yield window
                position = window.after
            if not found and position == {**self.start(), "epoch": position["epoch"]}:
                raise UserError(f"{self._name}: there is nothing to learn", "look at the rows")
            if not found:
                position = {**self.start(), "epoch": position["epoch"] + 1}

    def _epoch(self, position: Position, clock: Clock) -> Iterator[Window]:
        """Yield the windows of the rest of an epoch, and say what became of the rows in them."""
        losses: deque[Loss] = deque()
        story = Story()
        cuts = self._cuts(position, losses, story)
        following = next(cuts, None)
        while following is not None:
            part = [following, *itertools.islice(cuts, self.window - 1)]
            following = next(cuts, None)
            shard = shard_of([cut.sample for cut in part], self.encoder.tokenizer, story)
            last = part[-1]
            if following is None:
                after = {**self.start(), "epoch": position["epoch"] + 1}
                self._account.ended(losses, story.tally, clock.again)
            else:
                place = {"file": last.file, **last.place._asdict(), "cut": last.cut + 1}
                after = {"epoch": position["epoch"], **place}
                self._account.passed(losses, last.at, story.tally, clock.again)
            story.tally = Tally()
            yield self._window(position, after, shard)
            position = after
        if losses:  # nothing but bad rows
            self._account.ended(losses, story.tally, clock.again)

    def _window(self, position: Position, after: Position, shard: Shard) -> Window:
        numbers = [position[name] for name in ("epoch", "file", "offset", "cut")]
        key = mix(self.seed, *numbers) if self.shuffle else None
        numbers_S = Order(len(shard), key)[np.arange(len(shard))]
        return Window(position, after, Samples([shard]), numbers_S, shard.lengths[numbers_S], key)

    def _cuts(self, position: Position, losses: deque[Loss], story: Story) -> Iterator[_Cut]:
        """Yield the samples from a position on, each alone, to the end of the epoch."""
        first = position["file"], Place(position["offset"], position["number"])
        found = self.source.found(*first)
        while part := list(itertools.islice(found, TOGETHER)):
            for file, place, sample in self._encoded(part, losses, story):
                passed = position["cut"] if (file, place) == first else 0
                for cut, (start, length) in enumerate(sample.cuts):
                    if cut >= passed:
                        yield _Cut(file, place, cut, alone(sample, start, length))

    def _encoded(
        self, rows: list[Found], losses: deque[Loss], story: Story
    ) -> Iterator[tuple[int, Place, Sample]]:
        """Yield the samples of rows, with file and place of each; note or refuse those that give none."""
        numbered = [found._replace(row=number) for number, found in enumerate(rows)]  # ids may come twice
        samples = self.encoder.samples([found for found in numbered if story.accepts(found)], story)
        for bad in sorted(story.bad):
            found = rows[bad.row]
            if self.on_bad_row == "refuse":
                raise UserError(f"{self.where(found.row)}: {bad.problem}", bad.hint)
            losses.append(Loss((split_row(found.row)[0], *found.place, 0), found.row, bad.problem))
        story.bad.clear()
        for sample in samples:
            found = rows[sample.row]
            yield split_row(found.row)[0], found.place, sample._replace(row=found.row)


def alone(sample: Sample, start: int, length: int) -> Sample:
    """Return one of the samples of a row by itself."""
    piece = slice(start, start + length + 1)
    weights = None if sample.weights is None else sample.weights[piece]
    return Sample(sample.row, sample.ids[piece], weights, [(0, length)])


def shard_of(samples: Sequence[Sample], tokenizer: Tokenizer, story: Story | None = None) -> Shard:
    """Return samples in memory as the arrays of a shard, and count them in a story."""
    part = gathered(samples, ids_dtype(tokenizer), 0, None, START, story or Story())
    return Shard(part.tokens, part.starts, part.lengths, part.rows, part.codes, tuple(part.table))


def _glimpse(path: Path) -> list[Any]:
    """Return what tells a file from others without reading all of it."""
    stat = path.stat()
    with path.open("rb") as file:
        begin = file.read(GLIMPSE)
        file.seek(max(0, stat.st_size - GLIMPSE))
        return [stat.st_size, stat.st_mtime_ns, hashlib.sha256(begin + file.read()).hexdigest()]
