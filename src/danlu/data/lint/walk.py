"""Every row of some files with its place and its value, whatever else is wrong with them.

Rows are told by `sources.told`, as in training; here also the value is kept as it stood in the file. What
names no file of rows is refused; a file that cannot be opened or read to its end is one finding, and
reading goes on with the next.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from danlu.base.errors import UserError
from danlu.data import finding
from danlu.data.formats import Block, Format, Reading
from danlu.data.formats.opening import need_ending, need_file
from danlu.data.lint.findings import BAD, Finding
from danlu.data.records import Record
from danlu.data.rows import BadRow, Place, Row
from danlu.data.sources import Source, told


class Met(NamedTuple):
    """One row."""

    file: str
    line: int
    shape: str
    record: Record | BadRow
    value: Any
    """What the row holds as it stands, or a BadRow."""
    block: Block
    place: Place
    item: str
    """What tells it from the other rows of its line, where a line may hold several."""


@dataclass
class Watched:
    """A block that remembers the value it gave last."""

    inner: Block
    place: Place
    after: Place
    value: Any = None
    item: str = ""

    def rows(self) -> Iterator[Row]:
        for row in self.inner.rows():
            self.value, self.item = row.value, row.item
            yield row


def resolved(paths: Sequence[str | Path]) -> list[Path]:
    """Return the files that some paths mean; raise where they name what is not there or holds no rows.

    A link into nowhere, or what cannot be read of a file, is for whoever opens it.
    """
    found = finding.files(paths)
    for file in found:
        if not os.path.lexists(file):
            need_file(file)
        need_ending(file)
    return found


def files(
    paths: Sequence[str | Path], purpose: str | None, reading: Reading
) -> Iterator[tuple[Source, Format] | Finding]:
    """Yield every file that can be opened, and what is wrong with the others."""
    for file in resolved(paths):
        yield _opened(file, purpose, reading)


def _opened(file: Path, purpose: str | None, reading: Reading) -> tuple[Source, Format] | Finding:
    try:
        source = Source([file], purpose, reading)
    except UserError as error:
        return unreadable(str(file), error)
    return source, source.files[0]


def rows(source: Source, file: Format) -> Iterator[Met | Finding]:
    """Yield every row of a file, and at last why it could not be read to its end, if so."""
    try:
        for block in file.blocks():
            watched = Watched(block, block.place, block.after)
            for found in told(watched, 0, source.purpose, source.reading):
                line = found.place.number + 1
                yield Met(
                    str(file.path),
                    line,
                    found.shape,
                    found.record,
                    watched.value,
                    block,
                    found.place,
                    watched.item,
                )
    except (UserError, OSError) as error:
        yield unreadable(str(file.path), error)


def unreadable(path: str, error: UserError | OSError) -> Finding:
    """Return what is wrong with a whole file."""
    if isinstance(error, OSError):
        return Finding(BAD, "files", path, 0, "", f"cannot be read: {error.strerror}", "check the disk")
    place = re.match(rf"{re.escape(path)}(?::(\d+))?: ", error.problem)
    problem = error.problem[place.end() :] if place else error.problem
    return Finding(BAD, "files", path, int(place[1] or 0) if place else 0, "", problem, error.hint)
