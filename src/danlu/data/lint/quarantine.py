"""Rows that training refuses, set aside as JSON lines: where each stood, what is wrong, the row itself."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from danlu.base.errors import UserError
from danlu.data.lint.raw import raw
from danlu.data.lint.walk import Met
from danlu.data.lint.whole import whole_file
from danlu.data.rows import BadRow

Aside = Callable[[Met, BadRow], None]


@contextlib.contextmanager
def quarantine_for(file: str | Path, inputs: Sequence[str]) -> Iterator[Aside]:
    """Yield what sets a row aside; the file is there at the end, whole."""
    path = Path(file)
    if any(path.exists() and Path(name).exists() and path.samefile(name) for name in inputs):
        raise UserError(f"--quarantine: {path} is one of the files to check", "another file")
    with whole_file(path) as out:

        def aside(met: Met, bad: BadRow) -> None:
            row = {"file": met.file, "line": met.line, "problem": str(bad), "remedy": bad.hint}
            row |= raw(met.block, met.place, met.value)
            # Half a character cannot be encoded; as an escape it stays what it is.
            out.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")

        yield aside
