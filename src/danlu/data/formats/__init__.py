"""File formats: each turns a file into blocks of rows, and can begin again at the place of any row.

    for block in opened(path, reading).blocks(place):    reads; little work, done by one process
        for row in block.rows():                         parses; the work, done wherever it fits

A block holds about a megabyte and can be pickled, so that other processes may parse it. Reading holds
one block at a time, whatever the size of the file.

A new format is a class of that form in a file here, and one line in FORMATS.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from danlu.data.rows import START, BadRow, Place, Row

BLOCK = 1 << 20  # bytes read at a time
LONGEST = 64 << 20  # bytes of one row; a longer one is a mistake of the file, and would not be learned anyway
FORMATS = {
    ".jsonl": "danlu.data.formats.jsonl:JsonLines",
    ".ndjson": "danlu.data.formats.jsonl:JsonLines",
    ".json": "danlu.data.formats.json_list:JsonList",
    ".csv": "danlu.data.formats.separated:Commas",
    ".tsv": "danlu.data.formats.separated:Tabs",
    ".txt": "danlu.data.formats.prose:Prose",
    ".parquet": "danlu.data.formats.parquet:Parquet",
    ".arrow": "danlu.data.formats.arrow:Arrow",
}
"""Endings of file names, after .gz or .zst is taken off, and the class that reads them."""
PACKED = (".gz", ".zst")
"""Endings that say a file of text is compressed; its bytes have the last word."""


@dataclass(frozen=True)
class Reading:
    """What the user says of how files are to be read."""

    fields: Mapping[str, str] = field(default_factory=dict)
    """Our key: the key of theirs that stands for it."""
    encoding: str = "auto"
    """utf-8, gb18030, or auto: told from the bytes."""
    text_by: str = "line"
    """What one text of a .txt file is: a line, a paragraph (blank lines between), or the file."""


class Block(Protocol):
    """Some rows of a file, not yet parsed. Can be pickled."""

    place: Place
    """Of its first row."""
    after: Place
    """Of the row after its last."""

    def rows(self) -> Iterator[Row]:
        """Yield the rows; one that cannot be parsed holds a BadRow. Blank lines are passed over."""
        ...


class Format(Protocol):
    """One file."""

    path: Path

    def __init__(self, path: Path, reading: Reading) -> None: ...

    def blocks(self, place: Place = START) -> Iterator[Block]:
        """Yield the file from a place on."""
        ...


@dataclass
class Unreadable:
    """A block of one row that could not even be told from its neighbours."""

    place: Place
    after: Place
    bad: BadRow

    def rows(self) -> Iterator[Row]:
        yield Row(self.place, self.bad)
