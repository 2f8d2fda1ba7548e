"""Which format reads a file: its name says, and its first bytes have the last word.

What is named .json and holds JSON lines, or the other way about, is read as what it is, and that is said;
so is a table or a compressed file under another name. What is no file of rows is refused in two lines.
"""

from __future__ import annotations

import importlib
import os
import stat
from pathlib import Path

from danlu.base.errors import UserError
from danlu.base.log import say_once
from danlu.data.formats import FORMATS, PACKED, Format, Reading
from danlu.data.formats.encodings import BOM, head_of
from danlu.data.formats.inflate import Damaged, chunks, packing

BINARY = {".parquet": (b"PAR1", "Parquet"), ".arrow": (b"ARROW1", "Arrow")}
HEAD = 1 << 16
LINES = (".jsonl", ".ndjson")


def ending(path: Path) -> str:
    """Return the ending that tells a file's format; empty if none does.

    >>> ending(Path("a.b.jsonl.gz")), ending(Path("a.exe"))
    ('.jsonl', '')
    """
    name = path.name.lower()
    for packed in PACKED:
        name = name.removesuffix(packed)
    found = Path(name).suffix
    return found if found in FORMATS else ""


def opened(path: Path, reading: Reading) -> Format:
    """Return a file as what reads it, or refuse it."""
    need_file(path)
    kind = _as_found(path, need_ending(path))
    if _is_blank(path):
        raise holds_no_row(str(path))
    module, name = FORMATS[kind].split(":")
    made: Format = getattr(importlib.import_module(module), name)(path, reading)
    return made


def need_ending(path: Path) -> str:
    """Return the ending that tells a file's format, or refuse the file."""
    kind = ending(path)
    if not kind:
        known = f"one of: {', '.join(FORMATS)}; of text also with {' or '.join(PACKED)} after it"
        raise UserError(f"{path}: '{path.suffix or path.name}' cannot be read", known)
    return kind


def holds_no_row(names: str) -> UserError:
    """Return what is said of files without a row, such as blank lines only."""
    return UserError(f"{names}: holds no row", "put rows in it, or leave it out")


def _is_blank(path: Path) -> bool:
    """Return whether a file holds nothing but white space; mostly its first bytes say no."""
    try:
        return not any(data.removeprefix(BOM).strip() for data in chunks(path))
    except Damaged:
        return False  # whoever reads the file gets there again, and names the line


def need_file(path: Path) -> None:
    """Refuse what is no file that can be read."""
    try:
        found = path.stat()
    except FileNotFoundError:
        broken = "a link to a file that is not there" if path.is_symlink() else "no such file"
        raise UserError(f"{path}: {broken}", "check the path") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}", "check the path") from None
    if stat.S_ISDIR(found.st_mode):
        raise UserError(f"{path}: is a folder", "name its files")
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{path}: is a pipe or a device, not a file", "write it to a file first")
    if not found.st_size:
        raise UserError(f"{path}: is empty", "a file with one row a line")
    if not os.access(path, os.R_OK):
        raise UserError(f"{path}: cannot be read: permission denied", "check its permissions")


def _as_found(path: Path, kind: str) -> str:
    """Return the format a file has by its first bytes, if they say other than its name."""
    packed = packing(path)
    named = path.name.lower().endswith(PACKED)
    if packed and not named:
        say_once(f"{path}: is compressed with {packed.name}, though its name does not say so; read as such")
    if named and not packed:
        say_once(f"{path}: is not compressed, though its name says so; read as it is")
    head = head_of(path, HEAD)
    for table, (magic, name) in BINARY.items():
        if head.startswith(magic):
            if packed:
                raise UserError(f"{path}: is {name} within {packed.name}", "unpack it")
            return _said(path, kind, table, name)
    if kind in (".json", *LINES):
        start = head.removeprefix(BOM).lstrip()
        if kind == ".json" and _is_lines(start):
            return _said(path, kind, ".jsonl", "JSON lines")
        if kind in LINES and start[:1] == b"[" and start[1:].lstrip()[:1] == b"{":
            return _said(path, kind, ".json", "one JSON list")
    return kind


def _is_lines(start: bytes) -> bool:
    """Return whether the first two lines that are not blank are an object each, by their looks."""
    lines = [line.strip() for line in start.split(b"\n") if line.strip()][:2]
    return len(lines) == 2 and all(line[:1] == b"{" for line in lines) and lines[0][-1:] == b"}"


def _said(path: Path, kind: str, found: str, name: str) -> str:
    if kind != found:
        say_once(f"{path}: holds {name}, though its name ends in {kind}; read as {name}")
    return found
