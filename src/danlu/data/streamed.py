"""Rows read in order and encoded as they come: no cache, no waiting, and no shuffling but within a window.

    position  {"epoch": 0, "file": 2, "offset": 8123, "number": 41, "cut": 3}

which means: go to that place of that file, encode the row there, and pass over its first 3 samples. So
going on costs one window at most, wherever it is, and a text that fills several windows loses nothing.

Every rank reads and encodes the same windows and keeps the rows dealt to it; that is what makes the
steps the same at any number of ranks. A bad row is refused with its file and line, or skipped and
counted, as asked.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from danlu.base.errors import UserError
from danlu.base.log import say
from danlu.data.encode import KINDS, Options, Sample, Tally
from danlu.data.formats import Reading
from danlu.data.order import Order, mix
from danlu.data.records import Record
from danlu.data.rows import BadRow, Place, split_row
from danlu.data.samples import Samples, Shard
from danlu.data.sources import Found, Source
from danlu.data.supply import WINDOW, Clock, Position, Window, context_of, first_window
from danlu.tokenizer.tokenizer import Tokenizer

TOGETHER = 256  # rows encoded at a time
GLIMPSE = 1 << 16  # bytes at either end of a file that tell it from others


@dataclass(frozen=True)
class Encoding:
    """How rows become samples."""

    kind: str
    tokenizer: Tokenizer
    options: Options
    reading: Reading
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
        self.source = Source(paths, encoding.kind, encoding.reading)
        self.files = len(self.source.files)
        self.encoding = encoding
        self.seed, self.shuffle, self.window = seed, shuffle, window
        self.weighted = encoding.kind != "pretrain"
        self.where = self.source.where
        self.identity: dict[str, Any] = {
            "data": self._key(),
            "streamed": True,
            "seed": seed,
            "shuffle": shuffle,
            "window": window,
        }

    def _key(self) -> str:
        """Return what names the samples: how they are encoded, and size and ends of each file."""
        of = self.encoding
        parts = [
            of.kind,
            of.tokenizer.fingerprint,
            None if of.kind == "pretrain" else of.tokenizer.template,
            list(of.options),
            [dict(of.reading.fields), of.reading.encoding, of.reading.text_by],
            of.on_bad_row,
            [_glimpse(file.path) for file in self.source.files],
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

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
            for window in self._epoch(position):
                found = True
                yield window
                position = window.after
            if not found and position == {**self.start(), "epoch": position["epoch"]}:
                names = ", ".join(str(file.path) for file in self.source.files)
                raise UserError(f"{names}: there is nothing to learn", "look at the rows")
            if not found:
                position = {**self.start(), "epoch": position["epoch"] + 1}

    def _epoch(self, position: Position) -> Iterator[Window]:
        """Yield the windows of the rest of an epoch."""
        cuts = self._cuts(position)
        following = next(cuts, None)
        while following is not None:
            part = [following, *itertools.islice(cuts, self.window - 1)]
            following = next(cuts, None)
            if following is None:
                after = {**self.start(), "epoch": position["epoch"] + 1}
            else:
                last = part[-1]
                after = {
                    "epoch": position["epoch"],
                    "file": last.file,
                    **last.place._asdict(),
                    "cut": last.cut + 1,
                }
            yield self._window(position, after, [cut.sample for cut in part])
            position = after

    def _window(self, position: Position, after: Position, samples: list[Sample]) -> Window:
        shard = gathered(samples)
        numbers = [position[name] for name in ("epoch", "file", "offset", "cut")]
        key = mix(self.seed, *numbers) if self.shuffle else None
        numbers_S = Order(len(shard), key)[np.arange(len(shard))]
        return Window(position, after, Samples([shard]), numbers_S, shard.lengths[numbers_S], key)

    def _cuts(self, position: Position) -> Iterator[_Cut]:
        """Yield the samples from a position on, each alone, to the end of the epoch."""
        tally, bad = Tally(), 0
        first = position["file"], Place(position["offset"], position["number"])
        found = self.source.found(*first)
        whole = position == {**self.start(), "epoch": position["epoch"]}
        while part := list(itertools.islice(found, TOGETHER)):
            good = [each for each in part if not self._bad(each)]
            bad += len(part) - len(good)
            samples, refused = self._encoded(good, tally)
            bad += refused
            for file, place, sample in samples:
                passed = position["cut"] if (file, place) == first else 0
                for cut, (start, length) in enumerate(sample.cuts):
                    if cut >= passed:
                        yield _Cut(file, place, cut, alone(sample, start, length))
        if whole and bad:
            say(f"{bad:,} bad rows were skipped in epoch {position['epoch'] + 1}")

    def _bad(self, found: Found) -> bool:
        """Return whether a row is to be skipped, or refuse it."""
        if isinstance(found.record, BadRow) and self.encoding.on_bad_row == "refuse":
            raise self.source.error(found.row, found.record)
        return isinstance(found.record, BadRow)

    def _encoded(self, rows: list[Found], tally: Tally) -> tuple[list[tuple[int, Place, Sample]], int]:
        """Return the samples of rows, and how many rows were refused by what encodes them, and skipped."""
        try:
            return list(self._together(rows, tally)), 0
        except UserError as error:
            if len(rows) > 1:
                each = [self._encoded([row], tally) for row in rows]
                return [sample for samples, _ in each for sample in samples], sum(bad for _, bad in each)
            if self.encoding.on_bad_row == "refuse":
                raise self.source.error(rows[0].row, BadRow("", error.problem, error.hint)) from None
            return [], 1

    def _together(self, rows: list[Found], tally: Tally) -> Iterator[tuple[int, Place, Sample]]:
        """Yield the samples of rows, with file and place of each; some rows give none."""
        ids = [found.row for found in rows]
        if len(set(ids)) < len(ids):  # several on one line
            ids = list(range(len(ids)))
        by_id = dict(zip(ids, rows))
        records = [(number, cast(Record, found.record)) for number, found in by_id.items()]
        of = self.encoding
        for sample in KINDS[of.kind](of.tokenizer, records, of.options, tally):
            found = by_id[sample.row]
            yield split_row(found.row)[0], found.place, sample._replace(row=found.row)


def alone(sample: Sample, start: int, length: int) -> Sample:
    """Return one of the samples of a row by itself."""
    piece = slice(start, start + length + 1)
    weights = None if sample.weights is None else sample.weights[piece]
    return Sample(sample.row, sample.ids[piece], weights, [(0, length)])


def gathered(samples: Sequence[Sample]) -> Shard:
    """Return samples in memory, each of one cut, as the arrays of a shard."""
    sizes = np.array([len(sample.ids) for sample in samples])
    codes, table = None, (1.0,)
    if any(sample.weights is not None for sample in samples):
        weights = [np.ones(len(s.ids), np.float32) if s.weights is None else s.weights for s in samples]
        values, places = np.unique(np.concatenate(weights), return_inverse=True)
        if len(values) > 256:
            raise UserError("the chats have more than 256 different loss weights", "round their loss_weight")
        codes, table = places.astype(np.uint8), tuple(values.tolist())
    return Shard(
        tokens=np.concatenate([sample.ids for sample in samples]).astype(np.int32),
        starts=np.cumsum(sizes) - sizes,
        lengths=np.array([sample.cuts[0][1] for sample in samples], np.int32),
        rows=np.array([sample.row for sample in samples], np.int64),
        codes=codes,
        table=table,
    )


def _glimpse(path: Path) -> list[Any]:
    """Return what tells a file from others without reading all of it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        begin = file.read(GLIMPSE)
        file.seek(max(0, size - GLIMPSE))
        return [size, hashlib.sha256(begin + file.read()).hexdigest()]
