"""The bytes of a file, inflated if they are gzip or Zstandard, whatever its name says.

    for data in chunks(path, offset): ...       about a megabyte at a time, from an offset on

Offsets count inflated bytes, so that a place means the same in `a.jsonl` and in `a.jsonl.gz`; to begin
at one, what stands before it is inflated and dropped. Several compressed files end to end are one.
Where a stream is damaged every byte that inflates is given first, then `Damaged` is raised.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from danlu.base.errors import UserError
from danlu.data import formats

# Compressed bytes given to the inflater at once. What comes out of a piece for Zstandard cannot be
# bounded otherwise: the worst that 2 kB can hold is some 80 MB.
PIECE = {"gzip": 1 << 14, "Zstandard": 1 << 11}


class Damaged(Exception):
    """A compressed stream that does not go on."""


class Packing(NamedTuple):
    """One way to compress."""

    name: str
    magic: bytes
    make: Callable[[], Any]


def _zstd() -> Any:
    import zstandard

    return zstandard.ZstdDecompressor().decompressobj()


PACKINGS = [
    Packing("gzip", b"\x1f\x8b", lambda: zlib.decompressobj(31)),
    Packing("Zstandard", b"\x28\xb5\x2f\xfd", _zstd),
    Packing("Zstandard", b"\x50\x2a\x4d\x18", _zstd),  # a frame to be skipped, with which pzstd begins
]
FOREIGN = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip", b"7z\xbc\xaf": "7-Zip"}


def packing(path: Path) -> Packing | None:
    """Return how a file is compressed, by its first bytes."""
    with path.open("rb") as file:
        head = file.read(8)
    for magic, name in FOREIGN.items():
        if head.startswith(magic):
            raise UserError(
                f"{path}: is compressed with {name}", "unpack it; .gz and .zst are read as they are"
            )
    return next((kind for kind in PACKINGS if head.startswith(kind.magic)), None)


def chunks(path: Path, offset: int = 0) -> Iterator[bytes]:
    """Yield a file's bytes from an offset on; may raise Damaged after the last good one."""
    try:
        kind = packing(path)
        if kind is not None:
            yield from _dropped(_inflated(path, kind), offset)
            return
        with path.open("rb") as file:
            file.seek(offset)
            while data := file.read(formats.BLOCK):
                yield data
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read: {error.strerror}", "check the disk and its permissions"
        ) from None


def _dropped(pieces: Iterator[bytes], offset: int) -> Iterator[bytes]:
    for data in pieces:
        if offset < len(data):
            yield data[offset:] if offset else data
        offset = max(0, offset - len(data))


def _inflated(path: Path, kind: Packing, careful_from: int | None = None) -> Iterator[bytes]:
    """Yield what a file inflates to; from some byte on one by one, which finds the last good one."""
    given = 0
    with path.open("rb") as file:
        inner = kind.make()
        for at, raw in _pieces(file, PIECE[kind.name], careful_from):
            try:
                while raw := raw.lstrip(b"\0") if inner.eof else raw:  # gzip may be padded with zeros
                    inner = kind.make() if inner.eof else inner
                    data, raw = _step(inner, raw, kind)
                    given += len(data)
                    if data:
                        yield data
            except Exception as error:
                if not _is_damage(error):
                    raise
                if careful_from is None:
                    yield from _dropped(_inflated(path, kind, careful_from=at), given)
                raise Damaged(f"the {kind.name} stream is damaged near byte {at + 1:,}: {error}") from None
        while not inner.eof and kind.name == "gzip" and (data := inner.decompress(b"", formats.BLOCK)):
            yield data
        if not inner.eof:
            raise Damaged(f"the {kind.name} stream is cut off after {path.stat().st_size:,} bytes")


def _step(inner: Any, raw: bytes, kind: Packing) -> tuple[bytes, bytes]:
    """Return some inflated bytes, and what of the input is still to be given."""
    if kind.name == "gzip":
        data = inner.decompress(raw, formats.BLOCK)
        return data, inner.unused_data if inner.eof else inner.unconsumed_tail
    return inner.decompress(raw), inner.unused_data


def _pieces(file: BinaryIO, size: int, careful_from: int | None) -> Iterator[tuple[int, bytes]]:
    at = 0
    while raw := file.read(1 if careful_from is not None and at >= careful_from else size):
        yield at, raw
        at += len(raw)


def _is_damage(error: Exception) -> bool:
    return isinstance(error, zlib.error) or type(error).__name__ == "ZstdError"
