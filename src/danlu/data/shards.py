"""One shard on disk: the arrays of some samples, written part by part, mapped when they are first used.

    00017/ tokens.bin starts.bin lengths.bin rows.bin    see samples.py
           codes.bin    absent if all tokens weigh 1
           bad.txt      the rows left out, by file and line; absent if there are none
           meta.json    sizes and checksums, weights, sums, what happened, which input it covers

A shard is whole or absent. It covers the input from one row to another and depends on nothing
before, so any shard can be made again by itself.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from danlu.base import paths
from danlu.base.errors import UserError
from danlu.data.encode import Tally
from danlu.data.parts import Part, checked
from danlu.data.rows import START, Place, split_row
from danlu.data.samples import Shard

ARRAYS = {"starts": np.int64, "lengths": np.int32, "rows": np.int64, "codes": np.uint8}
EXAMPLES = 5  # bad rows that are told by name


class At(NamedTuple):
    """A place of one of the files."""

    file: int = 0
    place: Place = START

    def flat(self) -> list[int]:
        return [self.file, *self.place]

    @classmethod
    def of(cls, flat: Sequence[int]) -> At:
        return cls(flat[0], Place(*flat[1:]))


@dataclass
class Meta:
    """What is known of a shard, or of many, without opening the arrays."""

    tally: Tally = field(default_factory=Tally)
    shapes: Counter[str] = field(default_factory=Counter)
    bad: int = 0
    examples: list[tuple[int, str]] = field(default_factory=list)
    """Row and problem of the first bad rows."""
    squares: int = 0
    """Sum of the squares of all lengths."""
    table: list[float] = field(default_factory=lambda: [1.0])
    arrays: dict[str, tuple[str, int, str]] = field(default_factory=dict)
    """Each array's kind, its size, and its SHA-256."""
    begin: list[int] = field(default_factory=lambda: At().flat())
    end: list[int] | None = None
    """Where the next shard begins; None after the last."""

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Meta:
        """Return what was written as JSON."""
        plain = dict(told)
        return cls(
            tally=Tally(**plain.pop("tally")),
            shapes=Counter(plain.pop("shapes")),
            examples=[(row, problem) for row, problem in plain.pop("examples")],
            arrays={name: (kind, size, sha) for name, (kind, size, sha) in plain.pop("arrays").items()},
            **plain,
        )

    def plain(self) -> dict[str, Any]:
        """Return what to write as JSON."""
        return {**vars(self), "tally": asdict(self.tally)}

    def add(self, other: Meta) -> None:
        """Count another shard in."""
        self.tally.add(other.tally)
        self.shapes.update(other.shapes)
        self.bad += other.bad
        self.examples = (self.examples + other.examples)[:EXAMPLES]

    @property
    def samples(self) -> int:
        return self.arrays["lengths"][1]

    @property
    def bytes(self) -> int:
        return sum(np.dtype(kind).itemsize * size for kind, size, _ in self.arrays.values())


class ShardWriter:
    """Appends parts to the files of one shard."""

    def __init__(self, folder: Path, dtype: type, begin: At, names: Sequence[str]) -> None:
        self.meta = Meta(begin=begin.flat())
        self._folder = folder
        self._names = names
        kinds = {"tokens": dtype, **ARRAYS}
        self._files = {name: _File(folder / f"{name}.bin", kind) for name, kind in kinds.items()}
        self._table: dict[float, int] = {}

    @property
    def tokens(self) -> int:
        return self._files["tokens"].size

    def add(self, part: Part) -> None:
        """Append the samples of what follows in the input."""
        base = self.tokens
        self._codes(part, base)
        self._files["tokens"].append(part.tokens)
        self._files["starts"].append(part.starts + base)
        self._files["lengths"].append(part.lengths)
        self._files["rows"].append(part.rows)
        self.meta.tally.add(part.story.tally)
        self.meta.shapes.update(part.story.shapes)
        self.meta.squares += int((part.lengths.astype(np.int64) ** 2).sum())
        self._bad(part)

    def _codes(self, part: Part, base: int) -> None:
        """Append codes; they begin with the first part that has weights, all before weigh 1."""
        if part.codes is not None:
            if not self._table:
                self._ones(base)
            codes = np.array([self._code(weight) for weight in part.table], np.uint8)
            self._files["codes"].append(codes[part.codes])
        elif self._table:
            self._ones(len(part.tokens))

    def _ones(self, count: int) -> None:
        for begin in range(0, count, 1 << 20):
            self._files["codes"].append(np.full(min(1 << 20, count - begin), self._code(1.0), np.uint8))

    def _code(self, weight: float) -> int:
        code = self._table.setdefault(weight, len(self._table))
        checked(list(self._table))
        return code

    def _bad(self, part: Part) -> None:
        if not part.story.bad:
            return
        with (self._folder / "bad.txt").open("a", encoding="utf-8") as file:
            for row, problem, _ in part.story.bad:
                number, line = split_row(row)
                file.write(f"{self._names[number]}:{line + 1}: {problem}\n")
        self.meta.bad += len(part.story.bad)
        self.meta.examples += [(bad.row, bad.problem) for bad in part.story.bad]
        del self.meta.examples[EXAMPLES:]

    def close(self, end: At | None) -> Meta:
        """Finish the arrays and say what they are, and where the next shard begins."""
        self.meta.arrays = {name: file.close() for name, file in self._files.items()}
        if not self._table:
            (self._folder / "codes.bin").unlink()
            del self.meta.arrays["codes"]
        self.meta.table = list(self._table) or [1.0]
        self.meta.end = end and end.flat()
        paths.write_text(self._folder / "meta.json", json.dumps(self.meta.plain(), indent=1))
        return self.meta


class _File:
    """An array that grows on disk."""

    def __init__(self, path: Path, kind: Any) -> None:
        self._kind = np.dtype(kind)
        self._file: BinaryIO = path.open("wb")
        self._digest = hashlib.sha256()
        self.size = 0

    def append(self, values: np.ndarray) -> None:
        data = np.ascontiguousarray(values, self._kind).data.cast("B") if len(values) else b""
        self._file.write(data)
        self._digest.update(data)
        self.size += len(values)

    def close(self) -> tuple[str, int, str]:
        self._file.close()
        return self._kind.name, self.size, self._digest.hexdigest()


class Kept(Shard):
    """A shard on disk, its arrays mapped into memory on first use."""

    def __init__(self, folder: Path, meta: Meta, file: int = 0) -> None:
        self.folder, self.meta, self.file = folder, meta, file
        self.table = tuple(meta.table)
        self.places, self.squares = meta.tally.tokens, meta.squares
        if "codes" not in meta.arrays:
            self.codes = None
        for name, (kind, size, _) in meta.arrays.items():
            there = _size(folder / f"{name}.bin")
            if there != size * np.dtype(kind).itemsize:
                raise Damaged(folder / f"{name}.bin", "is missing" if there is None else "is cut off")

    def __len__(self) -> int:
        return self.meta.samples

    def __getattr__(self, name: str) -> Any:
        """Map an array that was not used before."""
        if name not in self.__dict__.get("meta", Meta()).arrays:
            raise AttributeError(name)
        kind, size, _ = self.meta.arrays[name]
        array = (
            np.memmap(self.folder / f"{name}.bin", kind, "r", shape=(size,)) if size else np.zeros(0, kind)
        )
        setattr(self, name, array)
        return array

    def verify(self) -> None:
        """Read every byte and compare the checksums."""
        for name, (_, _, sha) in self.meta.arrays.items():
            if paths.sha256(self.folder / f"{name}.bin") != sha:
                raise Damaged(self.folder / f"{name}.bin", "is not what was written")


class Damaged(UserError):
    """A shard that is not whole."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path}: {what}", "the same 'danlu data prepare' again makes what is damaged anew")


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def read(folder: Path, thoroughly: bool = False) -> Kept | None:
    """Return a shard that was begun here before, or None if it is absent or damaged."""
    try:
        kept = Kept(folder, Meta.of(json.loads((folder / "meta.json").read_text(encoding="utf-8"))))
        if thoroughly:
            kept.verify()
    except (OSError, ValueError, KeyError, TypeError, Damaged):
        return None
    return kept
