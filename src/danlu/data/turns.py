"""One process at a time: a lock on a file, which the system frees however its holder ends."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from danlu.base.log import say


@contextlib.contextmanager
def locked(lock: Path) -> Iterator[bool]:
    """Wait for a lock and hold it; yield False where the file system has none."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        alone = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another process that encodes the same data")
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            say(f"{lock.parent}: no locks here ({error.strerror}); encoding without")
            alone = False
        yield alone
