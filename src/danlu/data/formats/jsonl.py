"""JSON lines: one JSON value a line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from danlu.data.formats import BLOCK, Reading
from danlu.data.rows import START, BadRow, Place, Row

BOM = b"\xef\xbb\xbf"


@dataclass
class Lines:
    """Whole lines, as bytes."""

    place: Place
    after: Place
    data: bytes

    def rows(self) -> Iterator[Row]:
        offset, number = self.place
        for line in self.data.splitlines(keepends=True) if b"\r" not in self.data else _lines(self.data):
            if content := (line if offset else line.removeprefix(BOM)).strip():
                yield Row(Place(offset, number), _value(content))
            offset += len(line)
            number += 1


class JsonLines:
    """A file with one JSON value a line."""

    def __init__(self, path: Path, reading: Reading) -> None:
        self.path = path

    def blocks(self, place: Place = START) -> Iterator[Lines]:
        with self.path.open("rb") as file:
            file.seek(place.offset)
            while data := file.read(BLOCK):
                data += file.readline()
                after = Place(place.offset + len(data), place.number + data.count(b"\n"))
                yield Lines(place, after, data)
                place = after


def _lines(data: bytes) -> list[bytes]:
    """Return the lines, which only a line feed ends."""
    return [line + b"\n" for line in data.split(b"\n")]


def _value(line: bytes) -> Any:
    try:
        return parse(line)
    except BadRow as bad:
        return bad


def parse(line: bytes) -> Any:
    """Return the JSON value of a line, or raise what is wrong with it."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRow("", f"byte {error.start + 1} is not UTF-8", "save the file as UTF-8") from None
    try:
        value = json.loads(text, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        hint = (
            "one row a line, no list around them"
            if text.lstrip()[:1] in "[]"
            else "mend the line, or remove it"
        )
        what = re.sub("(:|,| starting)? at$", "", error.msg[0].lower() + error.msg[1:])
        raise BadRow("", f"not valid JSON at column {error.colno}: {what}", hint) from None
    except RecursionError:
        raise BadRow("", "is nested too deeply", "remove the row") from None
    except ValueError as error:
        raise BadRow("", f"not valid JSON: {error}", "mend the line, or remove it") from None
    if "\\u" in text:
        _whole_characters(value)
    return value


def _whole_characters(row: Any) -> None:
    """Refuse a row in which an escape names half of a character, wherever it stands."""
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise BadRow("", f"holds half a character, {half}", "write the whole character") from None


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no JSON number")
