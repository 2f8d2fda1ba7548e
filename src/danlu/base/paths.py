"""Files that are either whole or absent, and where the shipped ones lie.

A folder that matters is written aside, synced, then renamed into place:

    out/.full_sft_512.writing-4711/   every file written and fsynced here
    out/full_sft_512/                 appears in one rename

so a reader never sees half of it, whenever the writer is stopped.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from danlu.base.errors import UserError

PACKAGE = Path(__file__).resolve().parents[1]


def configs() -> Path:
    """Return the folder of shipped configurations: in the package once installed, else beside `src`."""
    inside = PACKAGE / "configs"
    return inside if inside.is_dir() else PACKAGE.parents[1] / "configs"


def cache() -> Path:
    """Return the folder for what can be made again: `$DANLU_CACHE`, else the user's cache folder."""
    chosen = os.environ.get("DANLU_CACHE")
    if chosen:
        return Path(chosen)
    try:
        home = Path.home()
    except RuntimeError:
        home = Path("/nonexistent")
    base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    if os.access(base if base.exists() else base.parent, os.W_OK):
        return base / "danlu"
    return Path(os.environ.get("TMPDIR") or "/tmp") / f"danlu-{os.getuid()}"


def sync(path: Path) -> None:
    """Force a file's content, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Replace a small file in one rename, synced."""
    with whole_file(path) as file:
        file.write(text)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """Yield a file of text to write; on success it becomes `path` in one rename, on failure it is gone."""
    with whole_path(path) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        yield file


@contextlib.contextmanager
def whole_path(path: Path) -> Iterator[Path]:
    """Yield the path to write a file of any kind at; it becomes `path`, or is gone, as with `whole_file`."""
    aside = path.with_name(f".{path.name}.writing-{os.getpid()}")
    try:
        yield aside
        sync(aside)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync(path.parent)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a folder to write in; on success it becomes `path` in one rename, on failure it is gone.

    An older folder at `path` is replaced: it stays in place until the new one is whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    recover(path)
    aside, old = _beside(path, "writing"), _beside(path, "replaced")
    aside.mkdir()
    try:
        yield aside
        for file in sorted(aside.rglob("*")):
            sync(file)
        sync(aside)
        if path.exists():
            path.rename(old)
            aside.rename(path)
            shutil.rmtree(old)
        else:
            aside.rename(path)
        sync(path.parent)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _beside(path: Path, what: str) -> Path:
    return path.with_name(f".{path.name}.{what}-{platform.node()}-{os.getpid()}")


def recover(path: Path) -> None:
    """Mend what a process of this host that was killed while replacing `path` left behind."""
    form = re.compile(rf"\.{re.escape(path.name)}\.(writing|replaced)-{re.escape(platform.node())}-(\d+)")
    for left in path.parent.iterdir() if path.parent.is_dir() else ():
        found = form.fullmatch(left.name)
        if not found or Path(f"/proc/{found[2]}").exists() or not Path("/proc").is_dir():
            continue
        if found[1] == "replaced" and not path.exists():
            left.rename(path)
        else:
            shutil.rmtree(left, ignore_errors=True)


def _standing(folder: Path) -> Path:
    """Return the part of a path that is already there."""
    there = folder.absolute()
    while not there.exists() and not there.is_symlink():
        there = there.parent
    return there


def need_space(folder: Path, size: int) -> None:
    """Refuse to begin writing `size` bytes where they would not fit."""
    free = shutil.disk_usage(_standing(folder)).free
    if free < size:
        raise UserError(
            f"{folder}: {size / 1e6:,.1f} MB to write, {free / 1e6:,.1f} MB free",
            "free some space, or choose another folder",
        )


def need_writable(folder: Path) -> None:
    """Refuse a folder that could not be made or written, before any work begins."""
    there = _standing(folder)
    if not there.is_dir() or not os.access(there, os.W_OK):
        reason = "cannot be written" if there.is_dir() else "is not a folder"
        raise UserError(f"{folder}: {there} {reason}", "choose another folder")


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()
