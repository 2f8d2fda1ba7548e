"""Fetch a data set or a model of a hub into the cache, once.

    cache/hub/hf/owner--name/main/data/train.jsonl      as it lies on the hub
                                  .have-<key>.json      which files a name meant; written when all are here
    cache/hub/hf/models--owner--name/main/config.json   a model

What is there is used as it is, without a question to the hub: a run sees the same rows as the one before.
To fetch anew, remove the folder. A broken connection goes on where it stopped. Whatever the hub says of
a file's content (its size and a hash) is checked before the file counts as here. Of several processes one
fetches, and the others find the files when it is done. With HF_HUB_OFFLINE=1 or
DANLU_OFFLINE=1 no connection is tried.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import importlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from danlu.base import paths
from danlu.base.errors import UserError
from danlu.base.log import say, say_once
from danlu.hub.names import File, Name, chosen, parse

HUBS = {"hf": "danlu.hub.hugging_face", "ms": "danlu.hub.model_scope"}
OFFLINE = ("DANLU_OFFLINE", "HF_HUB_OFFLINE")


class Hub(Protocol):
    """What a module of HUBS offers."""

    def listed(self, name: Name) -> list[File]:
        """Return the files of a data set or a model."""
        ...

    def fetch(self, name: Name, file: File, folder: Path) -> None:
        """Write one file below a folder, under its own path; go on with what is there of it."""
        ...


Choice = Callable[[list[File]], tuple[list[File], str]]
"""Picks files of a listing, and says in a line what it left out, if anything."""


def fetched(text: str, endings: tuple[str, ...]) -> list[Path]:
    """Return the files that the name of a data set means, fetched if they are not here yet."""
    name = parse(text)
    return obtained(name, [name.inside, endings], lambda files: chosen(name, files, endings))


def folder_of(name: Name) -> Path:
    """Return the folder of the cache in which a data set or a model lies."""
    own = name.repo.replace("/", "--")
    own = own if name.kind == "dataset" else f"{name.kind}s--{own}"
    return paths.cache() / "hub" / name.hub / own / name.revision.replace("/", "--")


def obtained(name: Name, what: object, choose: Choice) -> list[Path]:
    """Return the files of a listing that `choose` picks, fetched if they are not here yet.

    `what` is plain data that tells this choice from others of the same name.
    """
    folder = folder_of(name)
    record = folder / f".have-{hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]}.json"
    if (here := _here(record)) is not None:
        say_once(f"{name}: from the cache, {folder}")
        return here
    for variable in OFFLINE:
        if os.environ.get(variable, "").upper() in ("1", "ON", "YES", "TRUE"):
            raise UserError(
                f"{name}: is not in the cache, and {variable} is set", "fetch it once with a network"
            )
    hub: Hub = importlib.import_module(HUBS[name.hub])
    with _disk_in_words(folder):
        files, left_out = choose(hub.listed(name))
        with _alone(folder):
            if (here := _here(record)) is not None:
                return here
            if left_out:
                say(left_out)
            return _fetch(hub, name, folder, files, record)


def _fetch(hub: Hub, name: Name, folder: Path, files: list[File], record: Path) -> list[Path]:
    missing = [file for file in files if not _is_here(folder / file.path, file)]
    paths.need_space(folder, sum(file.size for file in missing))
    for number, file in enumerate(missing, 1):
        say(f"{name}: fetching {number} of {len(missing)}: {file.path} ({file.size / 1e6:,.1f} MB)")
        hub.fetch(name, file, folder)
        _check(name, folder / file.path, file)
    paths.write_text(record, json.dumps([[file.path, file.size] for file in files], indent=1))
    return [folder / file.path for file in files]


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time fetch into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        with contextlib.suppress(OSError):  # a file system without locks: each fetches for itself
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _here(record: Path) -> list[Path] | None:
    """Return the files of an earlier fetch, if all of them are still whole."""
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
        files = [(record.parent / path, size) for path, size in known]
        whole = all(path.stat().st_size == size for path, size in files)
    except (OSError, ValueError, TypeError):
        return None
    return [path for path, _ in files] if whole else None


def _is_here(path: Path, file: File) -> bool:
    return path.is_file() and path.stat().st_size == file.size and _right(path, file)


def _right(path: Path, file: File) -> bool:
    """Return whether a file's bytes are those the hub has, as far as it says."""
    if file.sha256:
        return paths.sha256(path) == file.sha256
    if file.git:
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size)
        with path.open("rb") as content:
            while chunk := content.read(1 << 22):
                digest.update(chunk)
        return digest.hexdigest() == file.git
    return True


def _check(name: Name, path: Path, file: File) -> None:
    size = path.stat().st_size
    if size != file.size:
        path.unlink()
        raise UserError(f"{name}: {file.path} came with {size:,} bytes of {file.size:,}", "try again")
    if not _right(path, file):
        path.unlink()
        raise UserError(
            f"{name}: {file.path} came with other bytes than the hub has", "try again; it was removed"
        )


@contextlib.contextmanager
def _disk_in_words(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise UserError(f"{folder}: the disk is full", "free some space; what is here is kept") from None
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR):
            hint = "set DANLU_CACHE to a writable folder"
            raise UserError(f"{folder}: cannot be written: {error.strerror}", hint) from None
        raise
