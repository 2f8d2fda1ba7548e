"""The texts that `danlu tokenizer` commands learn from or measure on: rows of any files, said once.

Every kind of row serves: a text, a chat with its tools, a preference pair. A .txt file keeps its line
ends, which a vocabulary should know. Reading is in order and holds one block of one file at a time.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from danlu.base.errors import UserError
from danlu.base.log import say
from danlu.reading_options import reading_of, reading_options

if TYPE_CHECKING:
    from danlu.data.sources import Source

PLAIN = (".txt", ".jsonl", ".ndjson", ".json", ".csv", ".tsv")
"""Endings of files that hold no more characters than bytes."""
SAY_EVERY = 10.0  # seconds
ENOUGH = 25_000_000
"""Characters to learn a vocabulary from. Each distinct word is kept with its letters and where it stands: of
Chinese, whose words reach from sign to sign and hardly recur, that is up to 200 bytes a character."""


@dataclass(frozen=True)
class Texts:
    """What the user said of the texts; can be read again and again."""

    text: tuple[str, ...]
    more: tuple[str, ...]
    """`--text a b` gives the first path to the option and the others to the command."""
    fields: tuple[str, ...]
    encoding: str
    text_by: str
    sample_rows: int | None
    rows: int = 0
    """How many rows there are, where that is known."""

    def __post_init__(self) -> None:
        if self.more and not self.text:
            raise UserError(f"what is '{self.more[0]}' for?", f"--text {self.more[0]}")

    def __bool__(self) -> bool:
        return bool(self.text)

    def __iter__(self) -> Iterator[str]:
        """Yield the texts, saying now and then how far it is."""
        if self.sample_rows is None:
            yield from _told(_texts(self.source()))
            return
        rows = self.rows or sum(1 for _ in self.source().found())
        say(f"{rows:,} rows, {min(rows, self.sample_rows):,} of them are taken, evenly spread")
        yield from _told(_texts(self.source(), rows, self.sample_rows))

    def enough(self, characters: int = ENOUGH) -> Texts:
        """Return as many of the rows, evenly spread, as hold about so many characters; or all of them.

        Whoever says how many rows to take is obeyed.
        """
        sizes = [file.path.stat().st_size for file in self.source().files if file.path.suffix in PLAIN]
        if self.sample_rows is not None or (
            len(sizes) == len(self.source().files) and sum(sizes) <= characters
        ):
            return self
        found = rows = 0
        for row, text in _texts(self.source()):
            found, rows = found + len(text), row + 1
        if found <= characters:
            return self
        taken = max(1, rows * characters // found)
        say(f"{found / 1e6:,.1f} M characters are more than is needed; --sample-rows takes another number")
        return dataclasses.replace(self, sample_rows=taken, rows=rows)

    def paths(self) -> list[Path]:
        """Return what is read, as it was called."""
        return [Path(path) for path in (*self.text, *self.more)]

    def source(self) -> Source:
        """Return the rows of the files, whatever they are for."""
        from danlu.data.sources import Source

        paths = (*self.text, *self.more)
        return Source(paths, None, reading_of(self.fields, self.encoding, self.text_by))


def options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command --text and how to read it; it takes them as keywords and makes `Texts` of them."""
    for option in (
        click.option(
            "--sample-rows",
            type=click.IntRange(min=1),
            metavar="N",
            help="Take N rows, evenly spread over the files. [all]",
        ),
        reading_options,
        click.option(
            "--text",
            multiple=True,
            metavar="FILE...",
            help="Text or rows, of any format and shape that can be trained on.",
        ),
        click.argument("more", nargs=-1, metavar=""),
    ):
        command = option(command)
    return command


def _texts(source: Source, rows: int = 0, wanted: int = 0) -> Iterator[tuple[int, str]]:
    """Yield (row, text) of every row, or of `wanted` among `rows` evenly spread ones."""
    from danlu.data import records
    from danlu.data.rows import BadRow, split_row

    by_line = [".txt" in file.path.suffixes and source.reading.text_by == "line" for file in source.files]
    for number, found in enumerate(source.found()):
        if wanted and number * wanted // rows == (number + 1) * wanted // rows and wanted < rows:
            continue
        if isinstance(found.record, BadRow):
            raise source.error(found.row, found.record)
        end = "\n" if by_line[split_row(found.row)[0]] else ""
        for text in records.texts(found.record):
            yield number, text + end
        for dialogue in records.dialogues(found.record):
            for tool in dialogue.tools or []:
                yield number, json.dumps(tool, ensure_ascii=False)


def _told(texts: Iterator[tuple[int, str]]) -> Iterator[str]:
    """Yield the texts, saying every few seconds how far it is."""
    said, characters, row = time.monotonic(), 0, -1
    for row, text in texts:
        characters += len(text)
        if time.monotonic() - said > SAY_EVERY:
            said = time.monotonic()
            say(f"{row + 1:,} rows, {characters / 1e6:,.1f} M characters")
        yield text
    say(f"read {row + 1:,} rows, {characters / 1e6:,.1f} M characters")
