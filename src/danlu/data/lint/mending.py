"""Files again, with what can be mended without guessing, each beside its original.

    data/chats.jsonl  ->  data/chats.fixed.jsonl      the original is never touched

A good row stays byte for byte as it stands. Of rows that say exactly the same the first is kept. A row
that cannot be mended is left out, or set aside where a quarantine is asked for; all of it is counted.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from danlu.data.finding import copies_of
from danlu.data.formats.encodings import BOM
from danlu.data.formats.json_items import Items
from danlu.data.formats.jsonl import Lines
from danlu.data.lint import walk
from danlu.data.lint.amend import amended
from danlu.data.lint.findings import Finding
from danlu.data.lint.pulse import Pulse
from danlu.data.lint.quarantine import Aside
from danlu.data.lint.raw import raw_bytes
from danlu.data.lint.repair import repaired
from danlu.data.lint.repeats import held
from danlu.data.lint.survey import Options
from danlu.data.lint.walk import Met
from danlu.data.lint.whole import whole_file
from danlu.data.outputs import need_free
from danlu.data.records import Record
from danlu.data.rows import BadRow


@dataclass
class Mended:
    """What became of a file."""

    file: str
    out: str
    as_they_stood: int = 0
    mended: int = 0
    repeated: int = 0
    left_out: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    """How many rows took each kind of mending."""
    first: dict[str, str] = field(default_factory=dict)
    """Where each kind was met first."""

    def note(self, met: Met, names: Sequence[str]) -> None:
        """Count the mendings of a row."""
        for name in names:
            self.kinds[name] += 1
            self.first.setdefault(name, f"{met.file}:{met.line}")

    def lines(self) -> Iterator[str]:
        """Yield what a person wants to know."""
        yield (
            f"mended: {self.out}: {self.as_they_stood:,} rows as they stood, {self.mended:,} mended,"
            f" {self.repeated:,} repeated ones dropped, {self.left_out:,} left out"
        )
        for name, number in self.kinds.most_common():
            yield f"  {name}: {number:,}, first in {self.first[name]}"


class Mending:
    """Writes mended files."""

    def __init__(
        self, options: Options, force: bool, refused: set[tuple[str, int, str]], aside: Aside | None
    ) -> None:
        self.options, self.force, self.aside = options, force, aside
        self.refused = refused
        """Rows that no mending helps: their template cannot say them."""
        self._pulse = Pulse()
        self._seen: set[bytes] = set()

    def mend(self, paths: Sequence[str | Path]) -> list[Mended]:
        """Write every file again; return what became of each."""
        done = []
        outs = outputs(walk.resolved(paths))
        for opened in walk.files(paths, self.options.purpose, self.options.reading):
            if not isinstance(opened, Finding):
                source, file = opened
                path = Path(file.path)
                out = outs[path]
                need_free("--fix", out, outs, self.force)
                with whole_file(out) as written:
                    done.append(self._file(walk.rows(source, file), Mended(str(path), str(out)), written))
        return done

    def _file(self, rows: Iterator[Met | Finding], mended: Mended, out: BinaryIO) -> Mended:
        for met in rows:
            if isinstance(met, Finding):
                continue
            self._pulse.beat("{:,} rows written again", mended.as_they_stood + mended.mended)
            try:
                for line, record, names in self._row(met):
                    mended.note(met, names)
                    if self._repeated(record):
                        mended.repeated += 1
                        mended.note(met, ["equal rows"])
                        continue
                    mended.mended += bool(names)
                    mended.as_they_stood += not names
                    out.write(line + b"\n")
            except BadRow as bad:
                mended.left_out += 1
                if self.aside is not None:
                    self.aside(met, met.record if isinstance(met.record, BadRow) else bad)
        return mended

    def _row(self, met: Met) -> list[tuple[bytes, Record, list[str]]]:
        """Return the lines that a row becomes, their records and what was mended; raise if it cannot be."""
        if (met.file, met.line, met.item) in self.refused:
            raise BadRow("", "the tokenizer's template cannot say it", "change the row, or remove it")
        line, encoding = raw_bytes(met.block, met.place), getattr(met.block, "encoding", "utf-8")
        if isinstance(met.value, BadRow):
            if not isinstance(met.block, (Lines, Items)):
                raise met.value  # only JSON is almost JSON
            values, names = _values(met.value, line, encoding)
        else:
            values, names = [met.value], []
        if not isinstance(met.block, Lines):
            line, names = None, [*names, "written as JSON lines"]
        rows = [amended(value, self.options.purpose, self.options.reading) for value in values]
        out = []
        for value, record, more in rows:
            written, how = _written(value, None if names or more else line, encoding)
            out.append((written, record, [*names, *more, *how]))
        return out

    def _repeated(self, record: Record) -> bool:
        """Whether an equal row was written already."""
        digest = hashlib.blake2b(held(record).encode(), digest_size=16).digest()
        known = digest in self._seen
        self._seen.add(digest)
        return known


def _values(bad: BadRow, line: bytes | None, encoding: str) -> tuple[list[Any], list[str]]:
    """Return the values that a line surely holds, and what was mended."""
    if line is None:
        raise bad
    names: list[str] = []
    try:
        text = line.removeprefix(BOM).decode(encoding)
    except UnicodeDecodeError:
        raise bad from None
    values: list[Any] = []
    pieces = [piece for piece in text.split("\r") if piece.strip()]
    for piece in pieces:
        found, how = repaired(piece)
        values += found
        names += how
    names += ["line ends"] * (len(pieces) > 1) + ["byte order mark"] * line.startswith(BOM)
    return values, list(dict.fromkeys(names))


def _written(value: Any, line: bytes | None, encoding: str) -> tuple[bytes, list[str]]:
    """Return a row as it stands if it stands well, else written anew."""
    if line is None:
        return _dumped(value), []
    if encoding != "utf-8" and not line.isascii():
        return _dumped(value), [f"{encoding} to utf-8"]
    return line.removeprefix(BOM), ["byte order mark"] if line.startswith(BOM) else []


def _dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def fixed(path: Path) -> Path:
    """Return where a file is written again."""
    return copies_of(path)[0]


def outputs(files: Sequence[Path]) -> dict[Path, Path]:
    """Return where each file is written again; of two that would meet, the second keeps its whole name.

    >>> [out.name for out in outputs([Path("a.csv"), Path("a.jsonl")]).values()]
    ['a.fixed.jsonl', 'a.jsonl.fixed.jsonl']
    """
    outs: dict[Path, Path] = {}
    for path in files:
        out, instead = copies_of(path)
        outs[path] = instead if out in outs.values() else out
    return outs
