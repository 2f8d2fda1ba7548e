"""A row of a file: where it stands, what it holds, and what is wrong with it if it cannot be used.

    Place(offset=1043, number=17)    reading can begin here again, and meets row 17 (line 18) first
    Row(place, value)                value is what a JSON line would hold, or a BadRow
    row_id(file=2, number=17)        both in one number, which is how samples remember their row

A bad row is a value, not an exception, so that whoever reads decides: refuse, skip and count, or list.
"""

from __future__ import annotations

from typing import Any, NamedTuple

NUMBERS = 40  # bits of a row's number within its file; above them stands the file's number


class Place(NamedTuple):
    """Where reading can begin: before one row of a file."""

    offset: int = 0
    """Bytes into the file (inflated, if it is compressed), or whatever else its format counts in."""
    number: int = 0
    """The row's number in its file, from 0: its line, or its rank where a file has no lines."""


START = Place()


class BadRow(Exception):
    """A row that cannot be used: the field, what is wrong with it, what to do."""

    def __init__(self, field: str, problem: str, hint: str) -> None:
        super().__init__(f"{field}: {problem}" if field else problem)
        self.field, self.problem, self.hint = field, problem, hint

    def __reduce__(self) -> tuple[Any, ...]:
        return BadRow, (self.field, self.problem, self.hint)


class Row(NamedTuple):
    """One row as it stands in its file."""

    place: Place
    value: Any
    item: str = ""
    """What tells it from the other rows of its line, where a line may hold several."""


def row_id(file: int, number: int) -> int:
    """Return one number for a row of one of several files.

    >>> split_row(row_id(2, 17))
    (2, 17)
    """
    return file << NUMBERS | number


def split_row(row: int) -> tuple[int, int]:
    """Return the file and the number that a row id stands for."""
    return row >> NUMBERS, row & ((1 << NUMBERS) - 1)
