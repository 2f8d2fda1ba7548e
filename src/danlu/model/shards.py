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

from danlu.base.errors import UserError
from danlu.model.disk import AGAIN, INDEX, WORDS, Span

SHARD_SIZE = 4 << 30
PIECE = 16 << 20  # bytes of a piece, about
WAITING = 2 * PIECE  # bytes that may wait to be written
OPEN = 4  # files under way at once
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
    written: dict[str, _File] = {}
    where: dict[str, str] = {}
    with _Behind(done) as behind:
        for number, names in enumerate(files, 1):
            name = "model.safetensors"
            if len(files) > 1:
                name = f"model-{number:05d}-of-{len(files):05d}.safetensors"
            file = written[name] = behind.begin(folder / name)
            behind.put(file, _header(names, described), 0)
            for piece in _joined(names, described, pieces):
                behind.put(file, piece if isinstance(piece, Span) else _bytes(piece), piece.nbytes)
            behind.end(file)
            where |= dict.fromkeys(names, name)
    digests = {name: file.digest.hexdigest() for name, file in written.items()}
    total = sum(size_of(*one) for one in described.values())
    if len(files) > 1:
        text = json.dumps({"metadata": {"total_size": total}, "weight_map": where}, indent=2)
        (folder / INDEX).write_text(text, encoding="utf-8")
        digests[INDEX] = hashlib.sha256(text.encode()).hexdigest()
    return Written(digests, total)


def _joined(
    names: list[str], described: Described, pieces: Callable[[str], Iterator[Tensor | Span]]
) -> Iterator[Tensor | Span]:
    """Yield the pieces of a file's tensors, neighbours that lie side by side as one."""
    run: Span | None = None
    for name in names:
        left = size_of(*described[name])
        for piece in pieces(name):
            left -= piece.nbytes
            if isinstance(piece, Span) and run and (run.file, run.begin + run.nbytes) == piece[:2]:
                run = run._replace(nbytes=run.nbytes + piece.nbytes)
                continue
            if run:
                yield run
            run = piece if isinstance(piece, Span) else None
            if isinstance(piece, Tensor):
                yield piece
        assert left == 0, f"{name}: {left} bytes are lacking"
    if run:
        yield run


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


class _File(NamedTuple):
    """One file under way."""

    handle: BinaryIO
    digest: Any
    hashing: ThreadPoolExecutor
    """The thread that hashes it, in the order of its pieces."""
    tasks: list[Future[None]]
    """Still to be done for it."""


class _Behind:
    """Threads that write, hash and ask the disk, a few pieces behind; files in turn have one hasher of two.

    What lies in a file is read by writer and hasher each for itself, in blocks that stay in the processor's
    cache: that is faster than handing it over.
    """

    def __init__(self, done: Callable[[int], None]) -> None:
        self.done = done
        self._threads = [ThreadPoolExecutor(1) for _ in range(4)]
        self._writing, self._disk, *self._hashing = self._threads
        self._files: list[_File] = []
        self._ends: list[Future[None]] = []
        self._waiting: deque[tuple[list[Future[None]], int]] = deque()
        self._size = 0

    def __enter__(self) -> _Behind:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        failed = kind is not None
        try:
            for end in () if failed else self._ends:
                failed = True
                end.result()
                failed = False
        finally:
            for thread in self._threads:
                thread.shutdown(cancel_futures=failed)
            for file in self._files:
                file.handle.close()

    def begin(self, path: Path) -> _File:
        """Open a file, once no more than a few are open."""
        if len(self._ends) >= OPEN:
            self._ends[-OPEN].result()
        hashing = self._hashing[len(self._files) % len(self._hashing)]
        self._files.append(_File(path.open("wb", buffering=0), hashlib.sha256(), hashing, []))
        return self._files[-1]

    def put(self, file: _File, piece: memoryview | Span, counted: int) -> None:
        """Write and hash a piece of a file; wait while too much of others is still to be written."""
        held = 0 if isinstance(piece, Span) else len(piece)
        while self._waiting and self._size + held > WAITING:
            tasks, freed = self._waiting.popleft()
            for task in tasks:
                task.result()
            self._size -= freed
        both = [
            self._writing.submit(self._write, file, piece, counted),
            file.hashing.submit(_hash, file, piece),
        ]
        file.tasks.extend(both)
        self._waiting.append((both, held))
        self._size += held

    def end(self, file: _File) -> None:
        """Close a file and ask the disk for it, once all that was put is in it."""
        self._ends.append(self._disk.submit(_end, file))

    def _write(self, file: _File, piece: memoryview | Span, counted: int) -> None:
        if isinstance(piece, Span):
            _copy(piece, file.handle, self.done)
        else:
            _write_all(file.handle, piece)
            self.done(counted)


def _hash(file: _File, piece: memoryview | Span) -> None:
    for block in _blocks(piece) if isinstance(piece, Span) else [piece]:
        file.digest.update(block)


def _end(file: _File) -> None:
    for task in file.tasks:
        task.result()
    os.fsync(file.handle.fileno())
    file.handle.close()


def _copy(span: Span, into: BinaryIO, told: Callable[[int], None]) -> None:
    """Copy bytes from file to file, in the kernel where it can."""
    done = 0
    with contextlib.suppress(OSError, AttributeError), span.file.open("rb") as file:
        while done < span.nbytes:
            left = min(span.nbytes - done, PIECE)
            count = os.copy_file_range(file.fileno(), into.fileno(), left, span.begin + done)
            done += count
            told(count)
            if not count:
                break
    for block in _blocks(span._replace(begin=span.begin + done, nbytes=span.nbytes - done)):
        _write_all(into, block)
        told(len(block))


def _blocks(span: Span) -> Iterator[memoryview]:
    """Yield bytes of a file, a block at a time, each in the room of the one before."""
    room, left = memoryview(bytearray(BLOCK)), span.nbytes
    try:
        file = span.file.open("rb", buffering=0)
    except OSError as error:
        raise UserError(f"{span.file}: cannot be read: {error.strerror}", AGAIN) from None
    with file:
        file.seek(span.begin)
        while left:
            count = file.readinto(room[: min(left, BLOCK)])
            if not count:
                raise UserError(f"{span.file}: ends {left:,} bytes too early", AGAIN)
            yield room[:count]
            left -= count


def _write_all(file: BinaryIO, view: memoryview) -> None:
    while len(view):
        view = view[file.write(view) :]
