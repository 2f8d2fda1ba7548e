"""Tables as text: a header, then rows of fields between commas (.csv) or tabs (.tsv).

    question,answer
    "a, b?","two
    lines"                 a quoted field may hold commas, line feeds and "" for a quote

Every field is text; a number stays as it is written. A row is known by the line on which it begins.
Whatever is no row by this grammar costs one line: reading goes on at the next. In a .tsv a quote that
does not begin a field is a letter like any other, as most writers of such files have it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from danlu.base.errors import UserError
from danlu.data import formats
from danlu.data.formats import Block, Reading, Unreadable
from danlu.data.formats.cutting import pieces, too_long
from danlu.data.formats.encodings import decoded, encoding_of, refuse_controls
from danlu.data.formats.inflate import Damaged, chunks
from danlu.data.rows import START, BadRow, Place, Row


class Grammar(NamedTuple):
    """The patterns of one separator; each is disjoint in its alternatives, so that none goes back far."""

    separator: str
    row: re.Pattern[bytes]
    """One row with its end."""
    begun: re.Pattern[bytes]
    """What may become a row when more bytes follow."""
    field: re.Pattern[str]
    """One field with the separator after it: as quoted, or as plain."""


def grammar(separator: str, quotes_within: bool) -> Grammar:
    """Return the patterns for one separator."""
    plain = rf'(?:[^{separator}\n"][^{separator}\n{"" if quotes_within else chr(34)}]*)?'
    opened = '"[^"]*(?:""[^"]*)*'
    field = f'(?:{opened}"|{plain})'
    return Grammar(
        separator,
        re.compile(rf"{field}(?:{separator}{field})*\r?\n".encode()),
        re.compile(rf'(?:{field}{separator})*(?:{opened}"?|{plain})\r?\Z'.encode()),
        re.compile(rf'(?:"([^"]*(?:""[^"]*)*)"|({plain})){separator}'),
    )


GRAMMARS = {",": grammar(",", False), "\t": grammar("\t", True)}


def split(text: str, form: Grammar) -> list[str]:
    """Return the fields of a row.

    >>> split('a,"b, c",', GRAMMARS[","])
    ['a', 'b, c', '']
    """
    if '"' not in text:
        return text.split(form.separator)
    return [quoted.replace('""', '"') or plain for quoted, plain in form.field.findall(text + form.separator)]


@dataclass
class Table:
    """Some rows of a table, as bytes."""

    place: Place
    after: Place
    data: bytes
    encoding: str
    columns: tuple[str, ...]
    separator: str

    def rows(self) -> Iterator[Row]:
        offset, number = self.place
        form = GRAMMARS[self.separator]
        for data, right in cut(self.data, form):
            if data.strip() or self.separator.encode() in data:
                yield Row(Place(offset, number), self._row(data, right, form))
            offset += len(data)
            number += data.count(b"\n")

    def _row(self, data: bytes, right: bool, form: Grammar) -> Any:
        try:
            return self._read(data, right, form)
        except BadRow as bad:
            return bad

    def _read(self, data: bytes, right: bool, form: Grammar) -> dict[str, str]:
        if len(data) > formats.LONGEST:
            raise too_long()
        refuse_controls(data)
        text = decoded(data, self.encoding)
        if not right:
            raise BadRow(
                "",
                "a quote stands where none may, or is never closed",
                'quote the whole field and write "" for a quote in it',
            )
        fields = split(text.removesuffix("\n").removesuffix("\r"), form)
        if len(fields) != len(self.columns):
            raise BadRow(
                "",
                _differs(len(fields), self.columns),
                "add the missing fields"
                if len(fields) < len(self.columns)
                else "quote fields that hold separators",
            )
        return dict(zip(self.columns, fields))


def cut(data: bytes, form: Grammar) -> Iterator[tuple[bytes, bool]]:
    """Yield the rows of whole data, and whether each is one; what is none is one line long."""
    at = 0
    closed = data if data.endswith(b"\n") else data + b"\n"
    while at < len(data):
        found = form.row.match(closed, at)
        end = found.end() if found else closed.index(b"\n", at) + 1
        yield data[at:end], bool(found)
        at = end


def ends(data: bytes, final: bool, form: Grammar) -> int:
    """Return how many bytes are whole rows."""
    if final:
        return len(data)
    if b'"' not in data:
        return data.rfind(b"\n") + 1
    at = 0
    while True:
        found = form.row.match(data, at)
        if found:
            at = found.end()
        elif form.begun.match(data, at) or not (line := data.find(b"\n", at) + 1):
            return at
        else:
            at = line


class Commas:
    """A table with commas between its fields."""

    separator = ","

    def __init__(self, path: Path, reading: Reading) -> None:
        self.path, self.reading = path, reading

    @functools.cached_property
    def encoding(self) -> str:
        return encoding_of(self.path, self.reading)

    @functools.cached_property
    def _header(self) -> tuple[tuple[str, ...], Place]:
        """The names of the columns, and the place after them."""
        data = b""
        with_damage = False
        try:
            for more in chunks(self.path):
                data += more
                if b"\n" in data.lstrip() or len(data) > formats.LONGEST:
                    break
        except Damaged:
            with_damage = True
        offset = number = 0
        for line, right in cut(data, GRAMMARS[self.separator]):
            if line.removeprefix(b"\xef\xbb\xbf").strip():
                columns = _columns(self.path, number, line, right and not with_damage, self)
                return columns, Place(offset + len(line), number + line.count(b"\n"))
            offset += len(line)
            number += 1
        raise UserError(f"{self.path}:1: has no header", "the first line names the columns")

    def blocks(self, place: Place = START) -> Iterator[Block]:
        columns, first = self._header
        place = max(place, first)
        empty = place == first
        form = GRAMMARS[self.separator]
        for piece in pieces(self.path, place, lambda data, final: ends(data, final, form)):
            if empty and not isinstance(piece, Unreadable) and not piece.data.strip():
                continue
            empty = False
            yield (
                piece
                if isinstance(piece, Unreadable)
                else Table(*piece, self.encoding, columns, self.separator)
            )
        if empty:
            yield Unreadable(
                START, first, BadRow("", "the header is all there is; no rows", "add rows, or drop the file")
            )


class Tabs(Commas):
    """A table with tabs between its fields."""

    separator = "\t"


def _columns(path: Path, number: int, line: bytes, right: bool, of: Commas) -> tuple[str, ...]:
    """Return the names of the columns, each once."""
    where = f"{path}:{number + 1}"
    if not right:
        raise UserError(
            f"{where}: the header is not closed or has a stray quote", "the first line names the columns"
        )
    try:
        text = decoded(line, of.encoding, first=True)
    except BadRow as bad:
        raise UserError(f"{where}: {bad}", bad.hint) from None
    names = [name.strip() for name in split(text.strip("\r\n"), GRAMMARS[of.separator])]
    if "" in names:
        raise UserError(f"{where}: column {names.index('') + 1} has no name", "give every column a name")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(f"{where}: two columns are called '{twice[0]}'", "rename or remove one of them")
    return tuple(names)


def _differs(count: int, columns: Sequence[str]) -> str:
    """Return that a row has another number of fields than the header.

    >>> _differs(1, ["a", "b"])
    'has 1 field; the header has 2: a, b'
    """
    fields = "field" if count == 1 else "fields"
    return f"has {count} {fields}; the header has {len(columns)}: {', '.join(columns)}"[:160]
