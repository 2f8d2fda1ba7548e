"""Write tensors into safetensors files of a certain size, a few pieces in memory at a time.

Names, shapes and number formats are known before the first byte is read, so every file is begun with its
final name and header, and its tensors follow in order. Threads write, hash and ask the disk for what is
written, while the next piece is being read; what lies in a file as it leaves is copied from there.

    model.safetensors                       up to `limit` bytes
    model-00001-of-00003.safetensors ...    else, with model.safetensors.index.json
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from danlu.base.paths import sync
from danlu.model.disk import INDEX, WORDS, Span

SHARD_SIZE = 4 << 30
PIECE = 32 << 20  # bytes of a piece, about
WAITING = 3 * PIECE  # bytes that may wait to be written
BLOCK = 256 << 10  # bytes of what is read only to be hashed or written on

Described = Mapping[str, tuple[tuple[int, ...], torch.dtype]]


class Written(NamedTuple):
    """What was written."""

    sha256: dict[str, str]
    """Of every file, by its name."""
    total: int
    """Bytes of all tensors."""


def size_of(shape: tuple[int, ...], dtype: torch.dtype) -> int:
    """Return the bytes of a tensor."""
    return math.prod(shape) * dtype.itemsize


def files_for(described: Described, limit: int) -> list[list[str]]:
    """Return the names of the tensors of each file."""
    files: list[list[str]] = [[]]
    size = 0
    for name, (shape, dtype) in described.items():
        one = size_of(shape, dtype)
        if files[-1] and size + one > limit:
            files.append([])
            size = 0
        files[-1].append(name)
        size += one
    return files


def write(
    folder: Path,
    described: Described,
    pieces: Callable[[str], Iterator[Tensor | Span]],
    limit: int = SHARD_SIZE,
    done: Callable[[int], None] = lambda size: None,
) -> Written:
    """Write what `pieces` yields for every name; `done` hears how many bytes were written."""
    files = files_for(described, limit)
    digests: dict[str, str] = {}
    where: dict[str, str] = {}
    with _Behind(done) as behind:
        for number, names in enumerate(files, 1):
            name = "model.safetensors"
            if len(files) > 1:
                name = f"model-{number:05d}-of-{len(files):05d}.safetensors"
            digests[name] = _write_file(folder / name, names, described, pieces, behind)
            where |= dict.fromkeys(names, name)
    total = sum(size_of(*one) for one in described.values())
    if len(files) > 1:
        text = json.dumps({"metadata": {"total_size": total}, "weight_map": where}, indent=2)
        (folder / INDEX).write_text(text, encoding="utf-8")
        digests[INDEX] = hashlib.sha256(text.encode()).hexdigest()
    return Written(digests, total)


def _write_file(
    path: Path,
    names: list[str],
    described: Described,
    pieces: Callable[[str], Iterator[Tensor | Span]],
    behind: _Behind,
) -> str:
    with behind.file(path) as digest:
        behind.put(_header(names, described), 0)
        for name in names:
            left = size_of(*described[name])
            for piece in pieces(name):
                behind.put(piece if isinstance(piece, Span) else _bytes(piece), piece.nbytes)
                left -= piece.nbytes
            assert left == 0, f"{name}: {left} bytes are lacking"
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().to("cpu").contiguous().view(-1)
    return memoryview(flat.view(torch.uint8).numpy()) if flat.numel() else memoryview(b"")  # type: ignore[arg-type]


def _header(names: list[str], described: Described) -> memoryview:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name in names:
        shape, dtype = described[name]
        size = size_of(shape, dtype)
        header[name] = {"dtype": WORDS[dtype], "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin where eight divides
    return memoryview(len(text).to_bytes(8, "little") + text)


class _Behind:
    """Three threads: one writes, one hashes, one asks the disk; a few pieces wait for them at most.

    What lies in a file is read by writer and hasher each for itself, in blocks that stay in the processor's
    cache: that is faster than handing it over.
    """

    def __init__(self, done: Callable[[int], None]) -> None:
        self.done = done
        self._writing, self._hashing, self._disk = (ThreadPoolExecutor(1) for _ in range(3))
        self._asked: list[Future[None]] = []
        self._waiting: deque[tuple[Future[None], Future[None], int]] = deque()
        self._size = 0

    def __enter__(self) -> _Behind:
        return self

    def __exit__(self, *error: object) -> None:
        for thread in (self._writing, self._hashing, self._disk):
            thread.shutdown(cancel_futures=error[0] is not None)
        for asked in self._asked if error[0] is None else ():
            asked.result()

    @contextlib.contextmanager
    def file(self, path: Path) -> Iterator[Any]:
        """Yield the digest of a file, which what is put from now on goes into."""
        with path.open("wb", buffering=0) as self._file:
            self._digest = hashlib.sha256()
            yield self._digest
            self._settle(0)
            self._asked.append(self._disk.submit(sync, path))

    def put(self, piece: memoryview | Span, counted: int) -> None:
        """Write and hash a piece; wait while too much of others is still to be written."""
        held = 0 if isinstance(piece, Span) else len(piece)
        self._settle(max(0, WAITING - held))
        both = self._writing.submit(self._write, piece, counted), self._hashing.submit(self._hash, piece)
        self._waiting.append((*both, held))
        self._size += held

    def _settle(self, size: int) -> None:
        """Wait until no more than so many bytes are held; 0: until everything is done."""
        while self._waiting and (self._size > size or size == 0):
            written, hashed, held = self._waiting.popleft()
            written.result()
            hashed.result()
            self._size -= held

    def _write(self, piece: memoryview | Span, counted: int) -> None:
        if isinstance(piece, Span):
            _copy(piece, self._file)
        else:
            _write_all(self._file, piece)
        self.done(counted)

    def _hash(self, piece: memoryview | Span) -> None:
        if isinstance(piece, Span):
            for block in _blocks(piece):
                self._digest.update(block)
        else:
            self._digest.update(piece)


def _copy(span: Span, into: BinaryIO) -> None:
    """Copy bytes from file to file, in the kernel where it can."""
    done = 0
    with contextlib.suppress(OSError, AttributeError), span.file.open("rb") as file:
        while done < span.nbytes:
            left = min(span.nbytes - done, PIECE)
            done += os.copy_file_range(file.fileno(), into.fileno(), left, span.begin + done)
    for block in _blocks(span._replace(begin=span.begin + done, nbytes=span.nbytes - done)):
        _write_all(into, block)


def _blocks(span: Span) -> Iterator[memoryview]:
    """Yield bytes of a file, a block at a time, each in the room of the one before."""
    room, left = memoryview(bytearray(BLOCK)), span.nbytes
    with span.file.open("rb", buffering=0) as file:
        file.seek(span.begin)
        while left:
            count = file.readinto(room[: min(left, BLOCK)])
            if not count:
                raise OSError(f"{span.file}: ends {left:,} bytes too early")
            yield room[:count]
            left -= count


def _write_all(file: BinaryIO, view: memoryview) -> None:
    while len(view):
        view = view[file.write(view) :]
