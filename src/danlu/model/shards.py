"""Write tensors into safetensors files of a certain size, one tensor in memory at a time.

Names, shapes and number formats are known before the first byte is read, so every file is begun with its
final name and header, and its tensors follow in order. A second thread hashes what is written and asks
the disk for it, while the next tensor is being read.

    model.safetensors                       up to `limit` bytes
    model-00001-of-00003.safetensors ...    else, with model.safetensors.index.json
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import queue
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch
from torch import Tensor

from danlu.model.disk import DTYPES, INDEX

SHARD_SIZE = 4 << 30
WORDS = {dtype: word for word, dtype in DTYPES.items()}
AHEAD = 4  # tensors that may wait to be written
PIECE = 64 << 20  # bytes between two requests to the disk

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
    tensor: Callable[[str], Tensor],
    limit: int = SHARD_SIZE,
    done: Callable[[int], None] = lambda size: None,
) -> Written:
    """Write what `tensor` returns for every name; `done` hears the bytes of each."""
    files = files_for(described, limit)
    digests: dict[str, str] = {}
    where: dict[str, str] = {}
    for number, names in enumerate(files, 1):
        name = "model.safetensors"
        if len(files) > 1:
            name = f"model-{number:05d}-of-{len(files):05d}.safetensors"
        digests[name] = _write_file(folder / name, names, described, tensor, done)
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
    tensor: Callable[[str], Tensor],
    done: Callable[[int], None],
) -> str:
    with _Behind(path) as behind:
        behind.put(_header(names, described))
        for name in names:
            shape, dtype = described[name]
            found = tensor(name).to("cpu").contiguous()
            assert tuple(found.shape) == shape and found.dtype == dtype, name
            behind.put(found.view(-1).view(torch.uint8).numpy().data if found.numel() else b"")
            done(size_of(shape, dtype))
    return behind.sha256


def _header(names: list[str], described: Described) -> bytes:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name in names:
        shape, dtype = described[name]
        size = size_of(shape, dtype)
        header[name] = {"dtype": WORDS[dtype], "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin where eight divides
    return len(text).to_bytes(8, "little") + text


class _Behind:
    """A file written, hashed and handed to the disk by a thread of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sha256 = ""
        self._waiting: queue.Queue[bytes | memoryview | None] = queue.Queue(AHEAD)
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"writing {path.name}")

    def __enter__(self) -> _Behind:
        self._thread.start()
        return self

    def put(self, data: bytes | memoryview) -> None:
        if self._failed is None:
            self._waiting.put(data)
        else:
            raise self._failed

    def __exit__(self, *error: object) -> None:
        self._waiting.put(None)
        self._thread.join()
        if self._failed is not None and error[0] is None:
            raise self._failed

    def _run(self) -> None:
        try:
            with self.path.open("wb", buffering=0) as file:
                self._write(file)
        except BaseException as failed:  # raised again where the tensors come from
            self._failed = failed
            while self._waiting.get() is not None:  # else whoever puts would wait for room
                pass

    def _write(self, file: BinaryIO) -> None:
        digest, unsynced = hashlib.sha256(), 0
        while (data := self._waiting.get()) is not None:
            view = memoryview(data)
            while len(view):
                count = file.write(view[:PIECE])
                digest.update(view[:count])
                view = view[count:]
                unsynced += count
                if unsynced >= PIECE:
                    os.fdatasync(file.fileno())
                    unsynced = 0
        os.fsync(file.fileno())
        self.sha256 = digest.hexdigest()
