"""Files of rows as records for one purpose, every bad row named by file and line.

    for row, record in Source(["a.jsonl", "b.jsonl"], "chat"): ...    the first bad row is raised
    for found in Source(...).found(): ...                             bad rows are told; reading goes on

Reading is in order and holds one block at a time. Blocks may be parsed by other processes: `told`
needs a block, the number of its file and the purpose, nothing else. A row's id (see rows.py) leads
back to its place without anything being counted.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from danlu.base.errors import UserError, pick
from danlu.data.formats import FORMATS, Block, Format, Reading
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
    for place, value in block.rows():
        row = row_id(file, place.number)
        try:
            if isinstance(value, BadRow):
                raise value
            yield Found(row, place, *recognise(value, purpose))
        except BadRow as bad:
            yield Found(row, place, "", bad)


class Source:
    """The rows of some files, as records for one purpose, or (None) for whatever they serve."""

    def __init__(
        self, paths: Sequence[str | Path], purpose: str | None, reading: Reading | None = None
    ) -> None:
        self.purpose = purpose and pick("purpose of data", purpose, PURPOSES)
        self.reading = reading or Reading()
        self.files: list[Format] = [_open(Path(path), self.reading) for path in paths]
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


def _open(path: Path, reading: Reading) -> Format:
    if path.is_dir():
        raise UserError(f"{path}: is a folder", "name its files, with commas between")
    if not path.exists():
        broken = "a link to a file that is not there" if path.is_symlink() else "no such file"
        raise UserError(f"{path}: {broken}", "check the path")
    if path.suffix not in FORMATS:
        raise UserError(f"{path}: '{path.suffix}' cannot be read", f"one of: {', '.join(FORMATS)}")
    if not path.stat().st_size:
        raise UserError(f"{path}: is empty", "a file with one row a line")
    try:
        path.open("rb").close()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}", "check its permissions") from None
    module, name = FORMATS[path.suffix].split(":")
    made: Format = getattr(importlib.import_module(module), name)(path, reading)
    return made
