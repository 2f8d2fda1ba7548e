"""Files of rows as records for one purpose, every bad row named by file and line.

    for row, record in Source(["a.jsonl", "b.jsonl"], "chat"): ...    the first bad row is raised
    for found in Source(...).found(): ...                             bad rows are told; reading goes on

A path may be a file, a folder, a pattern, or the name of a data set on a hub (finding.py); keys of the
rows may have other names than ours (fields.py).

Reading is in order and holds one block at a time. Blocks may be parsed by other processes: `told`
needs a block, the number of its file and the purpose, nothing else. A row's id (see rows.py) leads
back to its place without anything being counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from danlu.base.errors import UserError, pick
from danlu.data.fields import Names
from danlu.data.finding import files
from danlu.data.formats import Block, Format, Reading
from danlu.data.formats.opening import opened
from danlu.data.records import PURPOSES, Record, recognise
from danlu.data.rows import START, BadRow, Place, row_id, split_row


class Found(NamedTuple):
    """One row: a record, or what is wrong with it."""

    row: int
    place: Place
    shape: str
    """Name of the row's shape; empty for a bad row."""
    record: Record | BadRow


def told(block: Block, file: int, purpose: str | None, reading: Reading) -> Iterator[Found]:
    """Yield what the rows of a block are."""
    names = Names(reading.fields)
    for place, value, item in block.rows():
        row = row_id(file, place.number)
        try:
            if isinstance(value, BadRow):
                raise value
            yield Found(row, place, *recognise(names.apply(value), purpose))
        except BadRow as bad:
            yield Found(row, place, "", _within(item, bad))


def _within(item: str, bad: BadRow) -> BadRow:
    """Return a bad row with the name of the item it is, if its line may hold several."""
    field = ".".join(filter(None, (item, bad.field))) if item else bad.field
    return BadRow(field, bad.problem, bad.hint)


class Source:
    """The rows of some files, as records for one purpose, or (None) for whatever they serve."""

    def __init__(
        self, paths: Sequence[str | Path], purpose: str | None, reading: Reading | None = None
    ) -> None:
        self.purpose = purpose and pick("purpose of data", purpose, PURPOSES)
        self.reading = reading or Reading()
        Names(self.reading.fields)  # what names nothing is refused before anything is read
        self.files: list[Format] = [opened(path, self.reading) for path in files(paths)]
        self.shapes: Counter[str] = Counter()
        """How many rows of each shape were met by iterating."""

    def blocks(self, file: int = 0, place: Place = START) -> Iterator[tuple[int, Block]]:
        """Yield the number of a file and a block of it, from a place of a file on."""
        for number in range(file, len(self.files)):
            for block in self.files[number].blocks(place):
                yield number, block
            place = START

    def found(self, file: int = 0, place: Place = START) -> Iterator[Found]:
        """Yield what every row is, from a place on."""
        for number, block in self.blocks(file, place):
            yield from told(block, number, self.purpose, self.reading)

    def __iter__(self) -> Iterator[tuple[int, Record]]:
        """Yield every record with its row id."""
        for found in self.found():
            if isinstance(found.record, BadRow):
                raise self.error(found.row, found.record) from None
            self.shapes[found.shape] += 1
            yield found.row, found.record

    def error(self, row: int, bad: BadRow) -> UserError:
        """Return a bad row as an error with file and line."""
        return UserError(f"{self.where(row)}: {bad}", bad.hint)

    def where(self, row: int) -> str:
        """Return the file and line of a row."""
        file, number = split_row(row)
        return f"{self.files[file].path}:{number + 1}"
