"""JSON lines: one JSON value a line."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from danlu.data import formats
from danlu.data.formats import Block, Reading, Unreadable
from danlu.data.formats.cutting import pieces, too_long
from danlu.data.formats.encodings import encoding_of
from danlu.data.formats.json_value import value
from danlu.data.rows import START, Place, Row


def lines_of(data: bytes) -> list[bytes]:
    """Return the lines, which only a line feed ends."""
    if b"\r" not in data:
        return data.splitlines(keepends=True)
    return [line + b"\n" for line in data.split(b"\n")]


@dataclass
class Lines:
    """Whole lines, as bytes."""

    place: Place
    after: Place
    data: bytes
    encoding: str = "utf-8"

    def rows(self) -> Iterator[Row]:
        offset, number = self.place
        for line in lines_of(self.data):
            if content := line.strip():
                bad = too_long() if len(line) > formats.LONGEST else None
                yield Row(Place(offset, number), bad or value(content, self.encoding, first=not offset))
            offset += len(line)
            number += 1


class JsonLines:
    """A file with one JSON value a line."""

    def __init__(self, path: Path, reading: Reading) -> None:
        self.path, self.reading = path, reading

    @functools.cached_property
    def encoding(self) -> str:
        return encoding_of(self.path, self.reading)

    def blocks(self, place: Place = START) -> Iterator[Block]:
        for piece in pieces(self.path, place):
            yield piece if isinstance(piece, Unreadable) else Lines(*piece, self.encoding)
