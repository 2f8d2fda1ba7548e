"""Rows that training refuses, set aside as JSON lines: where each stood, what is wrong, the row itself."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from danlu.data.lint.raw import raw
from danlu.data.lint.walk import Met
from danlu.data.lint.whole import whole_file
from danlu.data.outputs import need_free
from danlu.data.rows import BadRow

Aside = Callable[[Met, BadRow], None]


@contextlib.contextmanager
def quarantine_for(file: str | Path, taken: Sequence[str | Path], force: bool = False) -> Iterator[Aside]:
    """Yield what sets a row aside; the file is there at the end, whole.

    It is none of those that are `taken`: read, or written besides.
    """
    path = Path(file)
    need_free("--quarantine", path, taken, force)
    with whole_file(path) as out:

        def aside(met: Met, bad: BadRow) -> None:
            row = {"file": met.file, "line": met.line, "problem": str(bad), "remedy": bad.hint}
            row |= raw(met.block, met.place, met.value)
            # Half a character cannot be encoded; as an escape it stays what it is.
            out.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")

        yield aside
