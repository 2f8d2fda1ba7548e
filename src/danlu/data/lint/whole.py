"""A file that is written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from danlu.base import paths
from danlu.base.errors import UserError


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a file to write in; on success it becomes `path` in one rename, on failure it is gone."""
    paths.need_writable(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.writing-{os.getpid()}")
    try:
        with aside.open("wb") as file:
            yield file
        paths.sync(aside)
        aside.replace(path)
        paths.sync(path.parent)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise UserError(f"{path}: {error.strerror}", "a writable place with room") from None
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
