"""JSON: one list of objects, one list under a key of an object, or one object that is a row itself.

    [{"text": "a"}, {"text": "b"}]        {"data": [{...}, {...}], "version": 2}        {"messages": [...]}

Reading finds where items begin and end without parsing them (structure.py); a block carries whole items
and parses them elsewhere. An item is named by the line it begins on and by its rank: `x.json:7: [3].text`.
An item that is never closed costs itself only, if the next one begins a line of the same indentation.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from danlu.base.errors import UserError
from danlu.data import formats
from danlu.data.formats import Block, Reading, Unreadable
from danlu.data.formats.cutting import too_long
from danlu.data.formats.encodings import BOM, encoding_of, head_of
from danlu.data.formats.inflate import Damaged, chunks
from danlu.data.formats.json_value import value
from danlu.data.formats.structure import CLOSE, COMMA, OPEN, Structure
from danlu.data.rows import START, BadRow, Place, Row

WHOLE_FILE = "fetch the file again, or close what is open"
KEY = 300  # bytes in which a key before a list must fit to be named
FIRST = 1 << 16  # bytes of a list in which its first object tells what it is
NO_ROWS = {b"role", b"from", b"function"}  # keys of messages and tools; a list of such is part of one row


class List(NamedTuple):
    """Where the items of a file are."""

    place: Place
    """After the bracket that opens them."""
    alone: bool
    """Whether nothing else may stand in the file."""


@dataclass
class Candidate:
    """A list under a key, as far as its beginning has been seen."""

    name: str
    place: Place
    start: bytes = b""

    def see(self, data: bytes) -> None:
        if len(self.start) < FIRST and b"}" not in self.start:
            self.start += data[:FIRST]

    @property
    def may_be_rows(self) -> bool:
        """Whether it can still turn out to be a list of objects; most lists cannot at once."""
        inner = self.start[1:].lstrip()
        return self.start[:1] == b"[" and inner[:1] in (b"", b"{")

    @property
    def is_rows(self) -> bool:
        keys = re.findall(rb'[{,]\s*"(\w+)"\s*:', self.start.split(b"}")[0])
        return self.start[1:].lstrip()[:1] == b"{" and not NO_ROWS & set(keys)


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


@dataclass
class Whole:
    """A file that is one row."""

    place: Place
    after: Place
    data: bytes
    encoding: str

    def rows(self) -> Iterator[Row]:
        yield Row(self.place, value(self.data.strip(), self.encoding, first=True, at=self.place.number))


class JsonList:
    """A file that holds one JSON value."""

    def __init__(self, path: Path, reading: Reading) -> None:
        self.path, self.reading = path, reading

    @functools.cached_property
    def encoding(self) -> str:
        return encoding_of(self.path, self.reading)

    @functools.cached_property
    def _list(self) -> List | None:
        head = head_of(self.path)
        at = len(head) - len(head.removeprefix(BOM).lstrip())
        if head[at : at + 1] == b"[":
            return List(Place(at + 1, head.count(b"\n", 0, at)), True)
        return self._under_a_key() if head[at : at + 1] == b"{" else None

    def _under_a_key(self) -> List | None:
        """Return the one list of objects under a key of the object that is the file, if there is one."""
        seen: list[Candidate] = []
        line, before = 0, b""
        for offset, data, marks in _until_damage(_looked(self.path, Place(), Structure(self.encoding))):
            for candidate in seen:
                candidate.see(data)
            for at in marks.at[(marks.kind == OPEN) & (marks.depth == 2)].tolist():
                key = re.search(rb'"([^"]*)"\s*:\s*\Z', (before + data[:at])[-KEY:])
                name = key[1].decode(self.encoding, "replace") if key else "?"
                seen.append(Candidate(name, Place(offset + at + 1, line + data.count(b"\n", 0, at))))
                seen[-1].see(data[at : at + FIRST])
            seen = [candidate for candidate in seen if candidate.may_be_rows]
            line += data.count(b"\n")
            before = (before + data)[-KEY:]
        found = [(candidate.name, candidate.place) for candidate in seen if candidate.is_rows]
        if len(found) > 1:
            names = ", ".join(f"'{name}'" for name, _ in found)
            raise UserError(f"{self.path}: has several lists of rows: {names}", "give each a file of its own")
        return List(found[0][1], False) if found else None

    def blocks(self, place: Place = START) -> Iterator[Block]:
        if self._list is None:
            yield from self._whole()
            return
        for block in self._items(self._list):
            if block.after.offset > place.offset or block.place.offset >= place.offset:
                yield _from(block, place) if isinstance(block, Items) else block

    def _whole(self) -> Iterator[Block]:
        data = head_of(self.path, formats.LONGEST + 1)
        number = data.count(b"\n", 0, len(data) - len(data.removeprefix(BOM).lstrip()))
        place, after = Place(0, number), Place(len(data), number + 1)
        if len(data) > formats.LONGEST:
            yield Unreadable(place, after, too_long())
        else:
            yield Whole(place, after, data, self.encoding)

    def _items(self, listed: List) -> Iterator[Items | Unreadable]:
        scan = Scan(self.path, listed, self.encoding)
        yield from scan.run()
        if scan.empty:
            yield Unreadable(listed.place, listed.place, BadRow("", "the list is empty", "put rows in it"))


def _from(block: Items, place: Place) -> Items:
    """Return the items of a block from a place on."""
    begin = place.offset - block.place.offset
    if begin <= 0:
        return block
    drop = sum(end < begin for end in block.ends)
    ends = [end - begin for end in block.ends[drop:]]
    return replace(block, place=place, data=block.data[begin:], ends=ends, first=block.first + drop)


def _looked(path: Path, place: Place, state: Structure) -> Iterator[tuple[int, bytes, Any]]:
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


def _until_damage(looked: Iterator[tuple[int, bytes, Any]]) -> Iterator[tuple[int, bytes, Any]]:
    """Yield what comes before a damage; the pass over the items names it."""
    with contextlib.suppress(Damaged):
        yield from looked


class Scan:
    """One pass over the items of a list."""

    def __init__(self, path: Path, listed: List, encoding: str) -> None:
        self.path, self.listed, self.encoding = path, listed, encoding
        self.empty = False
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
        state = Structure(self.encoding, depth=1)
        held: list[bytes] = []
        depth = 1
        for offset, data, marks in _looked(self.path, self._place, state):
            depth = int(marks.depth[-1]) if len(marks.depth) else depth
            cuts, end = _cuts(marks)
            if len(cuts):
                begin = self._place.offset
                last = int(cuts[-1])
                whole = b"".join([*held, data[: last + 1]])
                ends = (cuts + (offset - begin)).tolist()
                bad_end = end and data[last : last + 1] != b"]"
                if bad_end:
                    yield from self._block(whole, ends[:-1])
                    tail = whole[self._place.offset - begin :] + data[last + 1 :]
                    yield self._broken(tail, "a brace or bracket is closed that was not opened")
                    return
                yield from self._block(whole, ends, end)
                if end:
                    yield from self._rest(data[last + 1 :], offset + last + 1)
                    return
                held = [data[last + 1 :]]
            else:
                held.append(data)
                if sum(map(len, held)) > formats.LONGEST:
                    yield self._broken(b"".join(held), "is longer than 64 MB, or never closed")
                    return
        yield from self._cut_off(b"".join(held), depth)

    def _block(self, data: bytes, ends: list[int], end: bool = False) -> Iterator[Items]:
        """Yield whole items; `self._place` moves behind them."""
        if (
            end
            and not data[ends[-2] + 1 if len(ends) > 1 else 0 : -1].strip()
            and not self._item + len(ends) > 1
        ):
            self.empty = True
            return
        if not ends:
            return
        data = data[: ends[-1] + 1]
        skip = len(data) - len(data.lstrip())
        place = Place(self._place.offset + skip, self._place.number + data.count(b"\n", 0, skip))
        after = Place(self._place.offset + len(data), self._place.number + data.count(b"\n"))
        yield Items(place, after, data[skip:], [e - skip for e in ends], self._item, self.encoding)
        self._place, self._item = after, self._item + len(ends)

    def _broken(self, data: bytes, problem: str) -> Unreadable:
        """Return the item that stands first as unreadable, and find where the next one begins."""
        skip = len(data) - len(data.lstrip())
        place = Place(self._place.offset + skip, self._place.number + data.count(b"\n", 0, skip))
        indent = re.search(rb"[ \t]*\Z", data[:skip]) if b"\n" in data[:skip] else None
        pattern = rb"\n" + re.escape(indent[0] if indent else b"") + rb"\{"
        found = re.compile(pattern).search(data, skip + 1)
        hint = "close it; reading goes on at the next item that begins a line" if found else WHOLE_FILE
        bad = BadRow(f"[{self._item}]", problem, hint)
        end = found.end() - 1 if found else len(data)
        after = Place(self._place.offset + end, self._place.number + data.count(b"\n", 0, end))
        self._place, self._item, self._again = after, self._item + 1, bool(found)
        return Unreadable(place, after, bad)

    def _cut_off(self, data: bytes, depth: int) -> Iterator[Items | Unreadable]:
        """Yield what there is of a list that the file does not close."""
        if data.strip() and depth > 1:
            yield self._broken(data, "is never closed; the file ends within it")
            return
        if data.strip():
            yield from self._block(data, [len(data)])
        yield Unreadable(self._place, self._place, BadRow("", "the list is never closed", WHOLE_FILE))

    def _rest(self, data: bytes, offset: int) -> Iterator[Unreadable]:
        """Yield what stands after a list that should be alone."""
        if self.listed.alone and data.strip():
            skip = len(data) - len(data.lstrip())
            place = Place(offset + skip, self._place.number + data.count(b"\n", 0, skip))
            yield Unreadable(place, place, BadRow("", "there is more after the list", "one list a file"))


def _cuts(marks: Any) -> tuple[np.ndarray, bool]:
    """Return where items end up to the end of the list, and whether it ends here."""
    ended = np.flatnonzero((marks.kind == CLOSE) & (marks.depth <= 0))
    stop = int(ended[0]) + 1 if len(ended) else len(marks.at)
    kind, depth = marks.kind[:stop], marks.depth[:stop]
    cut = ((kind == COMMA) & (depth == 1)) | ((kind == CLOSE) & (depth <= 0))
    return marks.at[:stop][cut], bool(len(ended))
