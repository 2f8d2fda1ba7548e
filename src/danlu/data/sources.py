"""Files of rows: read in order or at random, every bad row named by file and line.

Rows are numbered through all files, one number a line, blank ones too, so a number alone leads back
to its place (`where`). Reading in order holds one line at a time. For reading at random, one line's
place in every 64 is remembered: 10**8 rows cost 12 MB.

A new format is a class with `__iter__`, `line` and `count`, and one line in FORMATS.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import json
import mmap
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from danlu.base.errors import UserError, pick
from danlu.data.records import PURPOSES, BadRow, Record, recognise

BOM = b"\xef\xbb\xbf"
BLOCK = 1 << 24


class JsonLines:
    """A UTF-8 file with one JSON value a line."""

    EVERY = 64

    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            for number, line in enumerate(file):
                yield line if number else line.removeprefix(BOM)

    @functools.cached_property
    def count(self) -> int:
        """How many lines there are."""
        return self._index[1]

    def line(self, number: int) -> bytes:
        """Return one line by its number from 0."""
        with self.path.open("rb") as file:
            file.seek(int(self._index[0][number // self.EVERY]))
            return next(itertools.islice(file, number % self.EVERY, None)).removeprefix(
                BOM if number == 0 else b""
            )

    @functools.cached_property
    def _index(self) -> tuple[np.ndarray, int]:
        """The place of every 64th line, and the number of lines."""
        places, count = [np.zeros(1, np.int64)], 0
        with self.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for start in range(0, len(content), BLOCK):
                ends = np.flatnonzero(np.frombuffer(content[start : start + BLOCK], np.uint8) == 10)
                first = (
                    -count - 1
                ) % self.EVERY  # the next line begun after `first` ends is a remembered one
                places.append(ends[first :: self.EVERY] + start + 1)
                count += len(ends)
            unfinished = content[len(content) - 1] != 10
        return np.concatenate(places), count + unfinished


FORMATS = {".jsonl": JsonLines, ".ndjson": JsonLines}


class Source:
    """The rows of some files, as records for one purpose, or for whatever they serve."""

    def __init__(self, paths: Sequence[str | Path], purpose: str | None) -> None:
        self.purpose = purpose and pick("purpose of data", purpose, PURPOSES)
        self.files = [_open(Path(path)) for path in paths]
        self.shapes: dict[str, int] = {}
        """How many rows of each shape were met while reading in order."""

    def __iter__(self) -> Iterator[tuple[int, Record]]:
        """Yield every record with its row number; blank lines are passed over."""
        number = 0
        for file in self.files:
            for line_number, line in enumerate(file, 1):
                if line.strip():
                    shape, record = self._record(file, line_number, line)
                    self.shapes[shape] = self.shapes.get(shape, 0) + 1
                    yield number, record
                number += 1

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, row: int) -> Record:
        file, line = self._place(row)
        return self._record(file, line + 1, file.line(line))[1]

    def where(self, row: int) -> str:
        """Return the file and line of a row."""
        file, line = self._place(row)
        return f"{file.path}:{line + 1}"

    def _place(self, row: int) -> tuple[JsonLines, int]:
        number = bisect.bisect_right(self._starts, row) - 1
        return self.files[number], row - self._starts[number]

    @functools.cached_property
    def _starts(self) -> list[int]:
        return [0, *itertools.accumulate(file.count for file in self.files)]

    def _record(self, file: JsonLines, line_number: int, line: bytes) -> tuple[str, Record]:
        try:
            row = parse(line)
            shape, record = recognise(row, self.purpose)
            if b"\\u" in line:
                _whole_characters(row)
            return shape, record
        except BadRow as bad:
            raise UserError(f"{file.path}:{line_number}: {bad}", bad.hint) from None


def read_jsonl(paths: Sequence[str | Path], purpose: str | None) -> Source:
    """Return the rows of files for "pretrain", for "chat", or (None) of any known shape."""
    return Source(paths, purpose)


def parse(line: bytes) -> Any:
    """Return the JSON value of a line, or raise what is wrong with it."""
    try:
        text = line.rstrip(b"\r\n").decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRow("", f"byte {error.start + 1} is not UTF-8", "save the file as UTF-8") from None
    try:
        return json.loads(text, parse_constant=_no_number)
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


def _whole_characters(row: Any) -> None:
    """Refuse a row in which an escape names half of a character, wherever it stands."""
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise BadRow("", f"holds half a character, {half}", "write the whole character") from None


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no JSON number")


def _open(path: Path) -> JsonLines:
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
    return FORMATS[path.suffix](path)
