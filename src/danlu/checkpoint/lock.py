"""One run folder, one process that saves in it.

The lock is the operating system's (POSIX record lock): it ends with its holder however that dies,
also by SIGKILL, is not inherited by worker processes, and reaches over NFS. So what is half-written
in a folder whose lock is free belongs to nobody alive.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from pathlib import Path

from danlu.base.errors import UserError

FILE = ".lock"
# Locks belong to the process, not to whoever asked: a second store of this process shares the first's.
_held: dict[tuple[int, Path], tuple[int, int]] = {}


def take(folder: Path) -> bool:
    """Become the process that saves in `folder`; true if no one was before, so leftovers are nobody's.

    False where this process is already the one, or where the file system knows no locks.
    """
    path = (folder / FILE).resolve()
    descriptor, users = _held.get((os.getpid(), path), (-1, 0))
    if users:
        _held[os.getpid(), path] = (descriptor, users + 1)
        return False
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(descriptor, 200).decode(errors="replace").strip()
        os.close(descriptor)
        if error.errno in (errno.EACCES, errno.EAGAIN):
            problem = f"{folder}: {holder or 'another process'} is saving here"
            raise UserError(problem, "wait for it, or choose another run_dir") from None
        return False
    os.truncate(descriptor, 0)
    os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    _held[os.getpid(), path] = (descriptor, 1)
    return True


def give_back(folder: Path) -> None:
    """Let others save in `folder` once every store of this process has given it back."""
    key = (os.getpid(), (folder / FILE).resolve())
    descriptor, users = _held.pop(key, (-1, 0))
    if users > 1:
        _held[key] = (descriptor, users - 1)
    elif users:
        os.close(descriptor)
