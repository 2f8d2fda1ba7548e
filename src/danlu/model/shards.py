"""Write tensors into safetensors files of a certain size, a few pieces in memory at a time.

Names, shapes and number formats are known before the first byte is read, so every file is begun with its
final name and header, and its tensors follow in order. Threads write, hash and ask the disk for what is
written, while the next piece is being read.

    model.safetensors                       up to `limit` bytes
    model-00001-of-00003.safetensors ...    else, with model.safetensors.index.json
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch
from torch import Tensor

from danlu.model.disk import INDEX, WORDS

SHARD_SIZE = 4 << 30
PIECE = 32 << 20  # bytes of a piece, about
WAITING = 3 * PIECE  # bytes that may wait to be written

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
    pieces: Callable[[str], Iterator[Tensor]],
    limit: int = SHARD_SIZE,
    done: Callable[[int], None] = lambda size: None,
) -> Written:
    """Write what `pieces` yields for every name; `done` hears how many bytes that was."""
    files = files_for(described, limit)
    digests: dict[str, str] = {}
    where: dict[str, str] = {}
    for number, names in enumerate(files, 1):
        name = "model.safetensors"
        if len(files) > 1:
            name = f"model-{number:05d}-of-{len(files):05d}.safetensors"
        digests[name] = _write_file(folder / name, names, described, pieces, done)
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
    pieces: Callable[[str], Iterator[Tensor]],
    done: Callable[[int], None],
) -> str:
    with _Behind(path) as behind:
        behind.put(_header(names, described))
        for name in names:
            left = size_of(*described[name])
            for piece in pieces(name):
                assert piece.dtype == described[name][1], name
                behind.put(_bytes(piece))
                left -= piece.nbytes
                done(piece.nbytes)
            assert left == 0, f"{name}: {left} bytes are lacking"
    return behind.sha256


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
    """A file written and hashed by a thread of its own, with so many bytes waiting at most."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sha256 = ""
        self._waiting: deque[memoryview | None] = deque()
        self._size = 0
        self._change = threading.Condition()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"writing {path.name}")

    def __enter__(self) -> _Behind:
        self._thread.start()
        return self

    def put(self, data: memoryview | None) -> None:
        size = len(data) if data is not None else 0
        with self._change:
            self._change.wait_for(lambda: self._size == 0 or self._size + size <= WAITING or self._failed)
            if self._failed is not None:
                raise self._failed
            self._waiting.append(data)
            self._size += size
            self._change.notify_all()

    def __exit__(self, kind: object, *error: object) -> None:
        try:
            self.put(None)
        except BaseException:
            if kind is None:
                raise
        finally:
            self._thread.join()
        if self._failed is not None and kind is None:
            raise self._failed

    def _run(self) -> None:
        try:
            with self.path.open("wb", buffering=0) as file:
                self._write(file)
        except BaseException as failed:  # raised again where the pieces come from
            with self._change:
                self._failed = failed
                self._change.notify_all()

    def _write(self, file: BinaryIO) -> None:
        digest = hashlib.sha256()
        with ThreadPoolExecutor(1) as hashing, ThreadPoolExecutor(1) as disk:
            asked: Future[None] | None = None
            while (view := self._next()) is not None:
                hashed = hashing.submit(digest.update, view)
                _write_all(file, view)
                hashed.result()
                if asked is None or asked.done():
                    asked = disk.submit(os.fdatasync, file.fileno())
                with self._change:
                    self._size -= len(view)
                    self._change.notify_all()
        os.fsync(file.fileno())
        self.sha256 = digest.hexdigest()

    def _next(self) -> memoryview | None:
        with self._change:
            self._change.wait_for(lambda: self._waiting)
            return self._waiting.popleft()


def _write_all(file: BinaryIO, view: memoryview) -> None:
    while len(view):
        view = view[file.write(view) :]
