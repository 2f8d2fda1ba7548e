"""Encoded samples as memory-mapped arrays, made once and kept in the cache.

    cache/encoded/<key>/tokens.bin    ids of all records, end to end      uint16, or int32 above 65,536 words
                        starts.bin    where each sample begins in them    int64
                        lengths.bin   how many places it takes            int32
                        rows.bin      which row of the data it is from    int64
                        codes.bin     index of each id's weight in the table below; absent if all are 1
                        meta.json     sizes, weights, what happened on the way; written last

The key is a hash of what decides the content: the files' bytes, kind, tokenizer, template, seq_len,
options. The folder appears in one rename. Processes that want the same one queue at a lock, which
ends with its holder however that dies; where the file system has no locks they all work, and the
last rename wins with the same bytes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from danlu.base import paths
from danlu.base.errors import UserError
from danlu.base.log import say
from danlu.data.encode import KINDS, Options, Sample, Tally
from danlu.data.samples import Samples, Shard
from danlu.data.sources import Source
from danlu.tokenizer.tokenizer import Tokenizer

VERSION = 1  # of the encoding; raise it when the same input would give other arrays
TOGETHER = 1024  # records encoded at a time
PATIENCE = 10.0  # seconds between two lines of progress
ARRAYS = {"starts": np.int64, "lengths": np.int32, "rows": np.int64, "codes": np.uint8}


class Encoded(Samples):
    """Samples of the cache, and what happened when they were made."""

    def __init__(self, shard: Shard, key: str, tally: Tally, shapes: dict[str, int]) -> None:
        super().__init__([shard], key)
        self.tally = tally
        self.shapes = shapes


def encoded(paths_: Sequence[str | Path], kind: str, tokenizer: Tokenizer, options: Options) -> Encoded:
    """Return the samples of some files, from the cache or encoded now."""
    source = Source(paths_, kind)
    try:
        found = _find_or_make(source, kind, tokenizer, options)
    except OSError as error:
        raise UserError(
            f"{error.filename or paths.cache()}: {error.strerror}",
            "set DANLU_CACHE to a writable folder with room",
        ) from None
    found.files = [str(file.path) for file in source.files]
    names = ", ".join(str(file.path) for file in source.files)
    for shape, count in found.shapes.items():
        say(f"found: {shape}, {count:,} rows")
    for line in found.tally.lines(options.seq_len):
        say(f"{names}: {line}")
    if not len(found):
        raise UserError(
            f"{names}: there is nothing to learn in {found.tally.rows:,} rows", "look at the rows"
        )
    return found


def _find_or_make(source: Source, kind: str, tokenizer: Tokenizer, options: Options) -> Encoded:
    """Return what the cache holds for an input, making it first if nobody has."""
    key = _key(source, kind, tokenizer, options)
    folder = paths.cache() / "encoded" / key
    found = _open(folder, key)
    if found is None:
        with _alone(folder):
            found = _open(folder, key)  # another process may have made it while we waited
            if found is None:
                _make(folder, source, kind, tokenizer, options)
                found = _open(folder, key)
    assert found is not None, f"{folder} was written and cannot be read"
    return found


def _key(source: Source, kind: str, tokenizer: Tokenizer, options: Options) -> str:
    """Return what names the result: a hash over everything it depends on."""
    template = tokenizer.template if kind != "pretrain" else None
    parts = [
        VERSION,
        kind,
        tokenizer.fingerprint,
        template,
        list(options),
        [fingerprint(f.path) for f in source.files],
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file, remembered as long as its size and time of change stay.

    A file changed within the last two seconds is not remembered: it could change again within one
    tick of the file system's clock.
    """
    status = path.stat()
    state = [str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ino]
    name = hashlib.sha256(json.dumps(state).encode()).hexdigest()[:32]
    memo = paths.cache() / "fingerprints" / name
    if memo.is_file():
        return memo.read_text()
    digest = paths.sha256(path)
    if time.time_ns() - status.st_mtime_ns > 2_000_000_000:
        memo.parent.mkdir(parents=True, exist_ok=True)
        paths.write_text(memo, digest)
    return digest


def _open(folder: Path, key: str) -> Encoded | None:
    """Return what a folder of the cache holds, or None if it is absent or not whole."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        arrays = {
            name: _map(folder / f"{name}.bin", kind, size) for name, (kind, size) in meta["arrays"].items()
        }
    except (OSError, ValueError, KeyError):
        return None
    shard = Shard(**arrays, table=tuple(meta["table"]))
    return Encoded(shard, key, Tally(**meta["tally"]), meta["shapes"])


def _map(path: Path, kind: str, size: int) -> np.ndarray:
    if path.stat().st_size != size * np.dtype(kind).itemsize:
        raise ValueError(f"{path} is cut off")
    return np.memmap(path, kind, "r", shape=(size,)) if size else np.zeros(0, kind)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock on a folder of the cache; the system frees it when the process ends."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another process that encodes the same data")
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            say(f"{folder.parent}: no locks here ({error.strerror}); encoding without")
        yield


def _make(folder: Path, source: Source, kind: str, tokenizer: Tokenizer, options: Options) -> None:
    """Encode everything and write it to the cache."""
    size = sum(file.path.stat().st_size for file in source.files)
    paths.need_space(folder, size)
    with paths.whole_folder(folder) as aside:
        writer = Writer(aside, np.uint16 if tokenizer.size <= 1 << 16 else np.int32)
        began = told = time.monotonic()
        records = iter(source)
        while part := list(itertools.islice(records, TOGETHER)):
            for sample in KINDS[kind](tokenizer, part, options, writer.tally):
                writer.add(sample)
            writer.tally.rows += len(part)
            if (now := time.monotonic()) - told > PATIENCE:
                told = now
                speed = writer.tally.tokens / (now - began)
                say(f"encoding: {writer.tally.rows:,} rows, {speed:,.0f} tokens/s", every_rank=True)
        writer.close(source)


class Writer:
    """Appends samples to the files of one folder."""

    def __init__(self, folder: Path, tokens: type) -> None:
        self.tally = Tally()
        self._folder = folder
        self._kinds: dict[str, Any] = {"tokens": tokens, **ARRAYS}
        self._files: dict[str, BinaryIO] = {name: (folder / f"{name}.bin").open("wb") for name in self._kinds}
        self._sizes = dict.fromkeys(self._kinds, 0)
        self._table: dict[float, int] = {}

    def add(self, sample: Sample) -> None:
        base = self._sizes["tokens"]
        self._append("tokens", sample.ids)
        if sample.weights is not None:
            if not self._table:
                self._ones(base)  # all before weigh 1
            values, places = np.unique(sample.weights, return_inverse=True)
            self._append("codes", np.array([self._code(value) for value in values.tolist()])[places])
        elif self._table:
            self._ones(len(sample.ids))
        self._append("starts", [base + start for start, _ in sample.cuts])
        self._append("lengths", [length for _, length in sample.cuts])
        self._append("rows", [sample.row] * len(sample.cuts))
        for start, length in sample.cuts:
            self.tally.samples += 1
            self.tally.tokens += length
            labels = None if sample.weights is None else sample.weights[start + 1 : start + 1 + length]
            self.tally.learned += length if labels is None else int(np.count_nonzero(labels))

    def _ones(self, count: int) -> None:
        """Append codes of weight 1, a part at a time."""
        for begin in range(0, count, 1 << 20):
            self._append("codes", np.full(min(1 << 20, count - begin), self._code(1.0)))

    def _append(self, name: str, values: np.ndarray | Iterable[int]) -> None:
        array = np.asarray(values, self._kinds[name])
        self._files[name].write(array.tobytes())
        self._sizes[name] += len(array)

    def _code(self, weight: float) -> int:
        if weight not in self._table and len(self._table) == 256:
            raise UserError("the chats have more than 256 different loss weights", "round their loss_weight")
        return self._table.setdefault(weight, len(self._table))

    def close(self, source: Source) -> None:
        """Finish the arrays, then write what they are."""
        for file in self._files.values():
            file.close()
        if not self._table:
            (self._folder / "codes.bin").unlink()
        arrays = {
            n: [np.dtype(k).name, self._sizes[n]]
            for n, k in self._kinds.items()
            if n != "codes" or self._table
        }
        meta = {
            "arrays": arrays,
            "table": list(self._table) or [1.0],
            "tally": asdict(self.tally),
            "shapes": source.shapes,
        }
        paths.write_text(self._folder / "meta.json", json.dumps(meta, indent=1))
