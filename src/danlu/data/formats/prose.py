"""Plain text: a text is a line, a paragraph, or the whole file, as `reading.text_by` says.

{"text": "one line"}      blank lines stand between paragraphs and are no texts themselves
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from danlu.base.errors import pick
from danlu.data import formats
from danlu.data.formats import Block, Reading, Unreadable
from danlu.data.formats.cutting import Ends, last_line, pieces, too_long
from danlu.data.formats.encodings import decoded, encoding_of, refuse_controls
from danlu.data.formats.jsonl import lines_of
from danlu.data.rows import START, BadRow, Place, Row

BLANK = re.compile(rb"\n[ \t\r]*\n")


def last_blank(data: bytes, final: bool) -> int:
    """Return where the last blank line ends."""
    if final:
        return len(data)
    end = 0
    for blank in BLANK.finditer(data):
        end = blank.end()
    return end


def nothing(data: bytes, final: bool) -> int:
    """Return that a row ends with its file."""
    return len(data) if final else 0


ENDS: dict[str, Ends] = {"line": last_line, "paragraph": last_blank, "file": nothing}


@dataclass
class Texts:
    """Whole lines, as bytes; each is a text, or each run of them up to a blank one."""

    place: Place
    after: Place
    data: bytes
    encoding: str
    text_by: str

    def rows(self) -> Iterator[Row]:
        for place, data in self._texts():
            yield Row(place, _text(data, self.encoding, not place.offset))

    def _texts(self) -> Iterator[tuple[Place, bytes]]:
        if self.text_by == "file":
            yield self.place, self.data
            return
        begin, at, end, number = self.place, 0, 0, self.place.number
        for line in lines_of(self.data):
            blank = not line.strip()
            if at < end and (blank or self.text_by == "line"):
                yield begin, self.data[at:end]
                at = end
            if blank:
                at = end + len(line)
            elif at == end:
                begin = Place(self.place.offset + end, number)
            end += len(line)
            number += 1
        if self.data[at:end].strip():
            yield begin, self.data[at:end]


def _text(data: bytes, encoding: str, first: bool) -> Any:
    try:
        if len(data) > formats.LONGEST:
            raise too_long()
        refuse_controls(data)
        text = decoded(data, encoding, first)
    except BadRow as bad:
        return bad
    return {"text": text.rstrip("\r\n")}


class Prose:
    """A file of plain text."""

    def __init__(self, path: Path, reading: Reading) -> None:
        self.path, self.reading = path, reading
        self.text_by = pick("text_by", reading.text_by, ENDS)

    @functools.cached_property
    def encoding(self) -> str:
        return encoding_of(self.path, self.reading)

    def blocks(self, place: Place = START) -> Iterator[Block]:
        for piece in pieces(self.path, place, ENDS[self.text_by]):
            yield piece if isinstance(piece, Unreadable) else Texts(*piece, self.encoding, self.text_by)
            if self.text_by == "file":
                return
