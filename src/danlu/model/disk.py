"""Tensors of a folder or a file by name, each read only when it is asked for, and no more than is asked.

    model.safetensors.index.json   says which files count; without it model.safetensors, else all of them
    pytorch_model.bin, *.pth       older files, read by torch's own reader that runs no code of theirs

A tensor comes as a copy of its own, so that memory holds what is in use and not the file. Rows of the first
dimension, an expert's share of a stack for instance, can be read by themselves.
"""

from __future__ import annotations

import json
import math
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from danlu.base.errors import UserError

INDEX = "model.safetensors.index.json"
PICKLED_INDEX = "pytorch_model.bin.index.json"
AGAIN = "copy or download it again"
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "C64": torch.complex64,
}
"""By the words of the safetensors format."""
WORDS = {dtype: word for word, dtype in DTYPES.items()}


class Stored(NamedTuple):
    """One tensor as it lies on the disk."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    file: Path
    begin: int = 0
    """Its first byte in the file."""
    pickled: Tensor | None = None
    """Itself, mapped from the file, where the format has no plain place for it."""

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class Span(NamedTuple):
    """Bytes as they lie in a file."""

    file: Path
    begin: int
    nbytes: int


class Disk:
    """All tensors of a folder of weights, or of one file."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.files = files_of(self.path)
        self.stored: dict[str, Stored] = {}
        for file in self.files:
            for name, tensor in _contents(file):
                if name in self.stored:
                    raise UserError(f"{file}: {name}: is in {self.stored[name].file.name} as well", AGAIN)
                self.stored[name] = tensor
        self._check_index()

    def __contains__(self, name: str) -> bool:
        return name in self.stored

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def get(self, name: str) -> Tensor:
        """Return a whole tensor."""
        stored = self.stored[name]
        if stored.pickled is not None:
            return stored.pickled.clone(memory_format=torch.contiguous_format)
        return _read(stored, 0, stored.shape)

    def rows(self, name: str, begin: int, end: int) -> Tensor:
        """Return some rows of a tensor's first dimension."""
        stored = self.stored[name]
        if stored.pickled is not None:
            return stored.pickled[begin:end].clone(memory_format=torch.contiguous_format)
        row = stored.shape[1:]
        return _read(stored, begin * math.prod(row) * stored.dtype.itemsize, (end - begin, *row))

    def dtypes(self) -> dict[torch.dtype, int]:
        """Return how many numbers there are of each format."""
        found: dict[torch.dtype, int] = {}
        for stored in self.stored.values():
            found[stored.dtype] = found.get(stored.dtype, 0) + math.prod(stored.shape)
        return found

    def _check_index(self) -> None:
        index = next(
            (self.path / name for name in (INDEX, PICKLED_INDEX) if (self.path / name).is_file()), None
        )
        for name, file in _weight_map(index).items() if index else ():
            there = self.stored.get(name)
            if there is None or there.file.name != file:
                raise UserError(f"{index}: {name}: is not in {file}", AGAIN)


def files_of(path: Path) -> list[Path]:
    """Return the files that hold the weights of a folder."""
    if path.is_file():
        return [path]
    for index, single, pattern in (
        (INDEX, "model.safetensors", "*.safetensors"),
        (PICKLED_INDEX, "pytorch_model.bin", "*.bin"),
    ):
        if (path / index).is_file():
            return [path / name for name in dict.fromkeys(_weight_map(path / index).values())]
        found = [path / single] if (path / single).is_file() else sorted(path.glob(pattern))
        found = [file for file in found if file.name != "training_args.bin"]
        if found:
            return found
    raise UserError(f"{path}: there is no .safetensors file in it", "a folder of finished weights")


def _weight_map(index: Path) -> dict[str, str]:
    try:
        found = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        # A name only: an index from elsewhere must not reach out of its folder.
        return {str(name): Path(file).name for name, file in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index}: cannot be read: {error}", AGAIN) from None


def _contents(file: Path) -> Iterator[tuple[str, Stored]]:
    return _plain_contents(file) if file.suffix == ".safetensors" else _pickled_contents(file)


def _plain_contents(file: Path) -> Iterator[tuple[str, Stored]]:
    try:
        with safe_open(file, framework="pt"):  # which checks every place against the file's length
            pass
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(length))
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(f"{file}: cannot be read: {error}", AGAIN) from None
    for name, about in header.items():
        if name != "__metadata__":
            yield name, _placed(file, name, about, 8 + length)


def _placed(file: Path, name: str, about: dict[str, Any], data: int) -> Stored:
    if about["dtype"] not in DTYPES:
        raise UserError(f"{file}: {name}: holds {about['dtype']}, which is not known here", "float weights")
    begin = data + about["data_offsets"][0]
    return Stored(tuple(about["shape"]), DTYPES[about["dtype"]], file, begin)


def _pickled_contents(file: Path) -> Iterator[tuple[str, Stored]]:
    found = unpickled(file)
    if isinstance(found, dict) and isinstance(found.get("model"), dict):
        found = found["model"]  # beside what training goes on from
    if not isinstance(found, dict):
        raise UserError(f"{file}: holds a {type(found).__name__}, not tensors by name", "a file of weights")
    for name, tensor in found.items():
        if not isinstance(tensor, Tensor):
            raise UserError(f"{file}: {name}: is a {type(tensor).__name__}, not a tensor", "only weights")
        yield str(name), Stored(tuple(tensor.shape), tensor.dtype, file, pickled=tensor)


def unpickled(file: Path, wanted: str = "a file of weights alone") -> Any:
    """Return what is in a file of torch's own format; what would run code is refused."""
    if not file.is_file():
        raise UserError(f"{file}: there is no such file", wanted)
    whole = zipfile.is_zipfile(file)
    with file.open("rb") as opened:
        if opened.read(2) == b"PK" and not whole:
            raise UserError(f"{file}: breaks off before its end", AGAIN)
    try:
        # Files from before torch 1.6 are no zip archives and cannot be mapped.
        return torch.load(file, map_location="cpu", weights_only=True, mmap=whole)
    except pickle.UnpicklingError as error:
        # torch's own words are not passed on: they propose to run the code.
        if not whole and "GLOBAL" not in str(error):
            raise UserError(f"{file}: cannot be read: torch.save did not write it", wanted) from None
        raise UserError(
            f"{file}: holds more than tensors, and reading it would run the code inside",
            "where it was made: torch.save(model.state_dict(), FILE), then take that file",
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError) as error:
        reason = str(error).strip().partition("\n")[0] or "it is empty"
        raise UserError(f"{file}: cannot be read: {reason}", f"{wanted}, whole") from None


def _read(stored: Stored, skip: int, shape: tuple[int, ...]) -> Tensor:
    return read(stored.file, stored.begin + skip, shape, stored.dtype, AGAIN)


def read(file: Path, begin: int, shape: tuple[int, ...], dtype: torch.dtype, hint: str) -> Tensor:
    """Return a tensor from its place in a file; `hint` says what to do if it cannot be read."""
    raw = torch.empty(math.prod(shape) * dtype.itemsize, dtype=torch.uint8)
    view = raw.numpy().data
    try:
        with file.open("rb", buffering=0) as opened:
            opened.seek(begin)
            while len(view):
                count = opened.readinto(view)
                if not count:
                    raise OSError(f"ends {len(view):,} bytes too early")
                view = view[count:]
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error}", hint) from None
    return raw.view(dtype).view(shape)
