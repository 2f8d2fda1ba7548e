"""Files that are written beside files that are read: none takes the place of another unasked."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from danlu.base.errors import UserError


def need_free(option: str, out: Path, taken: Iterable[str | Path], force: bool) -> None:
    """Refuse to write over a file that is read or written besides, and (unless forced) over any other.

    `option` is what the user calls `out` by, and what the error begins with.
    """
    if os.path.realpath(out) in set(map(os.path.realpath, taken)):
        raise UserError(f"{option}: {out} is one of the files that are read or written", "name another file")
    if os.path.lexists(out) and not force:
        raise UserError(f"{option}: {out} is there already", "move it away, or --force to replace it")
