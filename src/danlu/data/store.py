"""A folder of shards, made by several processes, restartable, opened without reading it.

    store/ 00000/ 00001/ ...   see shards.py
           bad.txt             every row that was left out, by file and line; absent if there is none
           manifest.json       the files, all that decided the encoding, the shards; written last

    rows --blocks--> processes --parts, in order--> shard after shard

Blocks depend on nothing but themselves and parts are put together in the order of the input, so the
shards are the same, byte for byte, for any number of processes. What is whole stays: made again after
an interruption, a store goes on where its last whole shard ends; a shard that is missing or damaged is
made anew by itself. Memory holds a few blocks for each process, whatever the size of the input.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from danlu.base import paths
from danlu.base.errors import UserError
from danlu.data.encode import ids_dtype
from danlu.data.parts import BlockEncoder, Part
from danlu.data.progress import Progress
from danlu.data.rows import BadRow
from danlu.data.shards import At, Kept, Meta, ShardWriter, read
from danlu.data.sources import Source
from danlu.data.workers import cores, in_order

FORMAT = 1
SHARD_TOKENS = 1 << 27
SMALL = 8 << 20  # bytes of input that are encoded sooner than processes begin
ON_BAD_ROW = ("refuse", "skip")


class Refused(UserError):
    """A bad row, where bad rows are refused."""


@dataclass
class Task:
    """What is to become of some files."""

    source: Source
    encoder: BlockEncoder
    on_bad_row: str = "refuse"
    shard_tokens: int = SHARD_TOKENS
    workers: int = 0
    """Processes; 0: as many as there are cores, or none for a small input; 1: none."""

    @property
    def names(self) -> list[str]:
        return [str(file.path) for file in self.source.files]

    @property
    def size(self) -> int:
        return sum(file.path.stat().st_size for file in self.source.files)

    def described(self) -> dict[str, Any]:
        """Return as JSON all that decides the samples: the files' bytes, how they are read and encoded."""
        with ThreadPoolExecutor(8) as threads:
            prints = list(threads.map(lambda file: fingerprint(file.path), self.source.files))
        files = [
            {"path": name, "read_as": type(file).__name__, "size": file.path.stat().st_size, "sha256": sha}
            for name, file, sha in zip(self.names, self.source.files, prints)
        ]
        return {**self.encoder.described(), "on_bad_row": self.on_bad_row, "files": files}

    def processes(self) -> int:
        return self.workers or (1 if self.size <= SMALL else cores())


def key_of(described: dict[str, Any]) -> str:
    """Return what names the samples: a hash over all that decides them, and not where the files lie."""
    files = [[file["read_as"], file["sha256"]] for file in described["files"]]
    return hashlib.sha256(json.dumps({**described, "files": files}, sort_keys=True).encode()).hexdigest()[:32]


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


def fill(folder: Path, task: Task, described: dict[str, Any], thoroughly: bool = False) -> None:
    """Make what is missing of a store; `thoroughly` reads what is there and compares its checksums."""
    began = time.monotonic()
    filling = _Filling(folder, task, thoroughly)
    shards = filling.all()
    if thoroughly and not filling.made:
        return
    _bad_rows(folder, [_name(number) for number in range(len(shards))])
    total = Meta()
    for meta in shards:
        total.add(meta)
    manifest = {
        "format": FORMAT,
        "key": key_of(described),
        **described,
        "shard_tokens": task.shard_tokens,
        "total": {**asdict(total.tally), "shapes": total.shapes, "bad": total.bad},
        "seconds": round(time.monotonic() - began, 1),
        "shards": [meta.plain() for meta in shards],
    }
    paths.write_text(folder / "manifest.json", json.dumps(manifest, ensure_ascii=False, indent=1) + "\n")


def _name(number: int) -> str:
    return f"{number:05d}"


def _bad_rows(folder: Path, shards: Sequence[str]) -> None:
    """Gather what the shards tell of bad rows into one file."""
    told = [path for name in shards if (path := folder / name / "bad.txt").is_file()]
    (folder / "bad.txt").unlink(missing_ok=True)
    if told:
        with (folder / "bad.txt").open("wb") as out:
            for path in told:
                with path.open("rb") as file:
                    shutil.copyfileobj(file, out)
        paths.sync(folder / "bad.txt")


class _Filling:
    """The making of a store."""

    def __init__(self, folder: Path, task: Task, thoroughly: bool) -> None:
        self.folder, self.task, self.thoroughly = folder, task, thoroughly
        self.shards: list[Meta] = []
        self.at = At()
        """Where the input goes on after those shards."""
        self.made = 0
        self.progress = Progress([file.path for file in task.source.files])

    def all(self) -> list[Meta]:
        """Return what is known of every shard, all of them whole."""
        self._keep()
        paths.need_space(self.folder, max(0, self.task.size - sum(meta.bytes for meta in self.shards)))
        self.progress.start(self.at)
        while self._make():
            self._keep()
        for left in self.folder.glob("[0-9]" * 5 + "*"):  # of a making with smaller shards
            if int(left.name) >= len(self.shards):
                shutil.rmtree(left)
        return self.shards

    def _keep(self) -> None:
        """Take the shards that are there and go on where the ones before end."""
        while (kept := self._next()) is not None:
            if kept.bad and self.task.on_bad_row == "refuse":
                row, problem = kept.examples[0]
                raise self._refused(row, problem, "mend the row, or remove it")
            self.shards.append(kept)
            self.at = At.of(kept.end)

    def _next(self) -> Meta | None:
        kept = read(self.folder / _name(len(self.shards)), self.thoroughly)
        return kept.meta if kept and kept.meta.begin == self.at.flat() else None

    def _make(self) -> bool:
        """Make shards until one is met that is there, and return True; or until the input ends."""
        dtype = ids_dtype(self.task.encoder.tokenizer)
        with contextlib.closing(self._parts()) as parts:
            part = next(parts, None)
            while part is not None:
                with paths.whole_folder(self.folder / _name(len(self.shards))) as aside:
                    writer = ShardWriter(aside, dtype, self.at, self.task.names)
                    while part is not None and writer.tokens < self.task.shard_tokens:
                        writer.add(self._accepted(part))
                        self.progress.add(part)
                        part = next(parts, None)
                    meta, self.at = writer.close()
                self.shards.append(meta)
                self.made += 1
                if part is not None and self._next():
                    return True
        return False

    def _parts(self) -> Generator[Part, None, None]:
        tasks = self.task.source.blocks(*self.at)
        return in_order(self.task.encoder, tasks, self.task.processes())

    def _accepted(self, part: Part) -> Part:
        if part.story.bad and self.task.on_bad_row == "refuse":
            raise self._refused(*part.story.bad[0])
        return part

    def _refused(self, row: int, problem: str, hint: str) -> Refused:
        error = self.task.source.error(row, BadRow("", problem, hint))
        return Refused(error.problem, f"{error.hint}; 'danlu data check' lists all such rows")


class Store:
    """A whole store, opened."""

    def __init__(self, folder: Path, base: int = 0) -> None:
        """May raise OSError, ValueError, KeyError, TypeError or Damaged where it is not whole."""
        self.manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if self.manifest["format"] != FORMAT:
            raise ValueError(f"format {self.manifest['format']}")
        self.folder = folder
        self.key = str(self.manifest["key"])
        self.files = [str(file["path"]) for file in self.manifest["files"]]
        self.total = Meta()
        self.shards: list[Kept] = []
        for number, told in enumerate(self.manifest["shards"]):
            self.shards.append(Kept(folder / _name(number), Meta.of(told), base))
            self.total.add(self.shards[-1].meta)
