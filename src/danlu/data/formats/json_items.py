"""The items of a JSON list: cut where they end, whatever they hold; found again after one that is broken."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from danlu.data import formats
from danlu.data.formats import Unreadable
from danlu.data.formats.cutting import too_long
from danlu.data.formats.inflate import Damaged, chunks
from danlu.data.formats.json_value import value
from danlu.data.formats.structure import CLOSE, COMMA, Structure
from danlu.data.rows import BadRow, Place, Row

WHOLE_FILE = "fetch the file again, or close what is open"


class List(NamedTuple):
    """Where the items of a file are."""

    place: Place
    """After the bracket that opens them."""
    alone: bool
    """Whether nothing else may stand in the file."""


@dataclass
class Items:
    """Whole items with the commas between them, as bytes."""

    place: Place
    after: Place
    data: bytes
    ends: list[int]
    """Where in the data each item ends."""
    first: int
    """Rank of the first item in the list."""
    encoding: str

    def rows(self) -> Iterator[Row]:
        begin, line = 0, self.place.number
        for item, end in enumerate(self.ends, self.first):
            content = self.data[begin:end]
            inner = content.strip()
            skipped = len(content) - len(content.lstrip()) if inner else 0
            number = line + content.count(b"\n", 0, skipped)
            place = Place(self.place.offset + begin + skipped, number)
            yield Row(place, _item(inner, self.encoding, number), f"[{item}]")
            line += self.data.count(b"\n", begin, end + 1)
            begin = end + 1


def _item(data: bytes, encoding: str, number: int) -> Any:
    if not data:
        return BadRow("", "nothing stands between two commas, or before the bracket", "remove the comma")
    if len(data) > formats.LONGEST:
        return too_long()
    return value(data, encoding, at=number)


def from_place(block: Items, place: Place) -> Items:
    """Return the items of a block from a place on."""
    begin = place.offset - block.place.offset
    if begin <= 0:
        return block
    drop = sum(end < begin for end in block.ends)
    ends = [end - begin for end in block.ends[drop:]]
    return replace(block, place=place, data=block.data[begin:], ends=ends, first=block.first + drop)


def looked(path: Path, place: Place, state: Structure) -> Iterator[tuple[int, bytes, Any]]:
    """Yield the offset of each chunk, the chunk, and its structure; a damaged stream raises at its end."""
    held, offset = b"", place.offset
    source = chunks(path, offset)
    while True:
        data = next(source, b"")
        held += data
        size = state.take(held) if data else len(held)
        if size:
            yield offset, held[:size], state.look(held[:size])
        if not data:
            return
        held, offset = held[size:], offset + size


class Scan:
    """One pass over the items of a list."""

    def __init__(self, path: Path, listed: List, encoding: str) -> None:
        self.path, self.listed, self.encoding = path, listed, encoding
        self._place, self._item = listed.place, 0
        self._again = True

    def run(self) -> Iterator[Items | Unreadable]:
        while self._again:  # after what cannot be closed, from the next item that can be told
            self._again = False
            try:
                yield from self._pass()
            except Damaged as damage:
                hint = "fetch or pack the file again; the items before this one are good"
                yield Unreadable(self._place, self._place, BadRow(f"[{self._item}]", str(damage), hint))

    def _pass(self) -> Iterator[Items | Unreadable]:
        held: list[bytes] = []
        depth, passed = 1, 0
        parts = looked(self.path, self._place, Structure(self.encoding, depth=1))
        for offset, data, marks in parts:
            depth = int(marks.depth[-1]) if len(marks.depth) else depth
            cuts, end = _cuts(marks)
            held.append(data)
            if not len(cuts):
                passed, held = self._passing(passed, held)
                continue
            begin, whole = self._place.offset + passed, b"".join(held)
            ends = (cuts + (offset - begin)).tolist()
            closed = whole[ends[-1] : ends[-1] + 1]
            wrong = end and closed != b"]"
            after = whole[ends[-1] + 1 :]
            if passed:
                yield self._too_long(passed + ends[0] + 1, whole[: ends[0] + 1])
                ends, whole, passed = [at - ends[0] - 1 for at in ends[1:]], whole[ends[0] + 1 :], 0
            yield from self._block(whole, ends[:-1] if wrong else ends, end and not wrong)
            if wrong:
                yield self._broken("a brace or bracket is closed that was not opened")
                return
            if end:
                yield from self._rest(after, (more for _, more, _ in parts))
                return
            held = [after]
        yield from self._cut_off(b"".join(held), depth if not passed else 2)

    def _passing(self, passed: int, held: list[bytes]) -> tuple[int, list[bytes]]:
        """Let go of what is held once it is too long for an item; only its lines are counted."""
        if not passed and sum(map(len, held)) <= formats.LONGEST:
            return 0, held
        if not passed:
            self._begin, self._lines = self._first(b"".join(held)), 0
        self._lines += sum(data.count(b"\n") for data in held)
        return passed + sum(map(len, held)), []

    def _first(self, data: bytes) -> Place:
        """Return where the item begins that stands first in some data."""
        skip = len(data) - len(data.lstrip())
        return Place(self._place.offset + skip, self._place.number + data.count(b"\n", 0, skip))

    def _too_long(self, size: int, end: bytes) -> Unreadable:
        self._place = Place(self._place.offset + size, self._place.number + self._lines + end.count(b"\n"))
        self._item += 1
        bad = too_long()
        return Unreadable(self._begin, self._place, BadRow(f"[{self._item - 1}]", bad.problem, bad.hint))

    def _block(self, data: bytes, ends: list[int], end: bool) -> Iterator[Items | Unreadable]:
        """Yield whole items; `self._place` moves behind them."""
        if not ends:
            return
        data = data[: ends[-1] + 1]
        if end and len(ends) == 1 and not self._item and not data[:-1].strip():
            bad = BadRow("", "the list is empty", "put rows in it")
            yield Unreadable(self._place, self._place, bad)
            return
        place = self._first(data)
        skip = place.offset - self._place.offset
        after = Place(self._place.offset + len(data), self._place.number + data.count(b"\n"))
        yield Items(place, after, data[skip:], [at - skip for at in ends], self._item, self.encoding)
        self._place, self._item = after, self._item + len(ends)

    def _cut_off(self, data: bytes, depth: int) -> Iterator[Items | Unreadable]:
        """Yield what there is of a list that the file does not close."""
        item = data.strip()
        if depth > 1 or item and isinstance(value(item, self.encoding), BadRow):
            yield self._broken("is never closed; the file ends within it")
            return
        if item:
            yield from self._block(data, [len(data)], False)
        yield Unreadable(self._place, self._place, BadRow("", "the list is never closed", WHOLE_FILE))

    def _broken(self, problem: str) -> Unreadable:
        """Return the item that stands first as unreadable, and find the next that begins a line like it."""
        source = chunks(self.path, self._place.offset)
        data = b""
        for more in source:
            data += more
            if data.strip():
                break
        begin = self._first(data)
        skip = begin.offset - self._place.offset
        indent = re.search(rb"[ \t]*\Z", data[:skip]) if b"\n" in data[:skip] else None
        following = re.compile(rb"\n" + re.escape(indent[0] if indent else b"") + rb"\{")
        keep = 64 + len(following.pattern)
        offset, number, data = begin.offset, begin.number, data[skip:]
        while not (found := following.search(data, 1)):
            let_go = max(0, len(data) - keep)
            offset, number, data = offset + let_go, number + data.count(b"\n", 0, let_go), data[let_go:]
            more = next(source, b"")
            if not more:
                break
            data += more
        end = found.end() - 1 if found else len(data)
        hint = "close it; reading goes on at the next item that begins a line" if found else WHOLE_FILE
        bad = BadRow(f"[{self._item}]", problem, hint)
        self._place = Place(offset + end, number + data.count(b"\n", 0, end))
        self._item, self._again = self._item + 1, bool(found)
        return Unreadable(begin, self._place, bad)

    def _rest(self, data: bytes, more: Iterator[bytes]) -> Iterator[Unreadable]:
        """Yield what stands after the list and may not: anything, or in an object what follows no value."""
        while not data.strip() and (part := next(more, b"")):
            data += part
        if data.strip() and (self.listed.alone or data.lstrip()[:1] not in b",}"):
            place = self._first(data)
            bad = BadRow(
                "", "there is more after the list", "is the list closed too early? nothing after it is read"
            )
            yield Unreadable(place, place, bad)


def _cuts(marks: Any) -> tuple[np.ndarray, bool]:
    """Return where items end up to the end of the list, and whether it ends here."""
    ended = np.flatnonzero((marks.kind == CLOSE) & (marks.depth <= 0))
    stop = int(ended[0]) + 1 if len(ended) else len(marks.at)
    kind, depth = marks.kind[:stop], marks.depth[:stop]
    cut = ((kind == COMMA) & (depth == 1)) | ((kind == CLOSE) & (depth <= 0))
    return marks.at[:stop][cut], bool(len(ended))
