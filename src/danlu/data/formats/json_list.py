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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from danlu.base.errors import UserError
from danlu.data import formats
from danlu.data.formats import Block, Reading, Unreadable
from danlu.data.formats.cutting import too_long
from danlu.data.formats.encodings import BOM, encoding_of, head_of
from danlu.data.formats.inflate import Damaged
from danlu.data.formats.json_items import Items, List, Scan, from_place, looked
from danlu.data.formats.json_value import value
from danlu.data.formats.structure import OPEN, Structure
from danlu.data.rows import START, Place, Row

KEY = 300  # bytes in which a key before a list must fit to be named
FIRST = 1 << 16  # bytes of a list in which its first object tells what it is
NO_ROWS = {b"role", b"from", b"function"}  # keys of messages and tools; a list of such is part of one row


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
        for offset, data, marks in _until_damage(looked(self.path, Place(), Structure(self.encoding))):
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
        for block in Scan(self.path, self._list, self.encoding).run():
            if block.after.offset > place.offset or block.place.offset >= place.offset:
                yield from_place(block, place) if isinstance(block, Items) else block

    def _whole(self) -> Iterator[Block]:
        data = head_of(self.path, formats.LONGEST + 1)
        number = data.count(b"\n", 0, len(data) - len(data.removeprefix(BOM).lstrip()))
        place, after = Place(0, number), Place(len(data), number + 1)
        if len(data) > formats.LONGEST:
            yield Unreadable(place, after, too_long())
        else:
            yield Whole(place, after, data, self.encoding)


def _until_damage(looked: Iterator[tuple[int, bytes, Any]]) -> Iterator[tuple[int, bytes, Any]]:
    """Yield what comes before a damage; the pass over the items names it."""
    with contextlib.suppress(Damaged):
        yield from looked
