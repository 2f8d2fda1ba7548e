"""A folder of shards, made by several processes, restartable, opened without reading it.

    store/ 00000/ 00001/ ...   see shards.py
           bad.txt             every row that was left out, by file and line; absent if there is none
           manifest.json       the files, all that decided the encoding, the shards; written last

    rows --blocks--> processes --parts, in order--> shard after shard

Blocks depend on nothing but themselves, parts are put together in the order of the input, and a shard ends
with the row that fills it; so shards are the same, byte for byte, for any number of processes and however
the input was cut into blocks. What is whole stays: made again after an interruption, a store goes on where
its last whole shard ends; a shard that is missing or damaged is made anew by itself. Memory holds a few
blocks for each process, whatever the size of the input.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from danlu.base import paths
from danlu.base.errors import UserError
from danlu.data.encode import ids_dtype
from danlu.data.formats.opening import holds_no_row
from danlu.data.parts import BlockEncoder, Part
from danlu.data.progress import Progress
from danlu.data.rows import BadRow
from danlu.data.shards import At, Kept, Meta, ShardWriter, read
from danlu.data.sources import Source
from danlu.data.workers import cores, in_order

FORMAT = 1
SHARD_TOKENS = 1 << 27
SMALL = 2 << 20  # bytes of input that are encoded sooner than processes begin
ON_BAD_ROW = ("refuse", "skip")


class Refused(UserError):
    """A bad row, where bad rows are refused, no row at all, or input that changed on the way."""


@dataclass
class Task:
    """What is to become of some files."""

    source: Source
    encoder: BlockEncoder
    on_bad_row: str = "refuse"
    shard_tokens: int = SHARD_TOKENS
    workers: int = 0
    """Processes; 0: as many as there are cores, or none for a small input; 1: none."""
    _states: list[tuple[int, ...]] = field(default_factory=list)
    """Of the files, when they were described."""

    @property
    def names(self) -> list[str]:
        return [str(file.path) for file in self.source.files]

    @property
    def size(self) -> int:
        return sum(file.path.stat().st_size for file in self.source.files)

    def described(self) -> dict[str, Any]:
        """Return as JSON all that decides the samples: the files' bytes, how they are read and encoded."""
        self._states = self._now()
        with ThreadPoolExecutor(8) as threads:
            prints = list(threads.map(lambda file: fingerprint(file.path), self.source.files))
        files = [
            {"path": name, "read_as": type(file).__name__, "size": file.path.stat().st_size, "sha256": sha}
            for name, file, sha in zip(self.names, self.source.files, prints)
        ]
        return {**self.encoder.described(), "on_bad_row": self.on_bad_row, "files": files}

    def _now(self) -> list[tuple[int, ...]]:
        return [state_of(file.path) for file in self.source.files]

    def changed(self) -> str:
        """Return the name of a file that is not what it was when it was described, or nothing."""
        pairs = zip(self.names, self._states, self._now())
        return next((name for name, before, now in pairs if before != now), "")

    def processes(self) -> int:
        return self.workers or (1 if self.size <= SMALL else cores())


def key_of(described: dict[str, Any]) -> str:
    """Return what names the samples: a hash over all that decides them, and not where the files lie."""
    files = [[file["read_as"], file["sha256"]] for file in described["files"]]
    return hashlib.sha256(json.dumps({**described, "files": files}, sort_keys=True).encode()).hexdigest()[:32]


def state_of(path: Path) -> tuple[int, ...]:
    """Return what tells that a file changed; the last number cannot be set back by anybody."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file, remembered as long as its state stays.

    A file changed within the last two seconds is not remembered: it could change again within one
    tick of the file system's clock.
    """
    state = state_of(path)
    name = hashlib.sha256(json.dumps([str(path.resolve()), *state]).encode()).hexdigest()[:32]
    memo = paths.cache() / "fingerprints" / name
    if memo.is_file():
        return memo.read_text()
    digest = paths.sha256(path)
    if time.time_ns() - state[2] > 2_000_000_000 and state == state_of(path):
        memo.parent.mkdir(parents=True, exist_ok=True)
        paths.write_text(memo, digest)
    return digest


def fill(folder: Path, task: Task, described: dict[str, Any], thoroughly: bool = False) -> None:
    """Make what is missing of a store; `thoroughly` reads what is there and compares its checksums."""
    began = time.monotonic()
    filling = _Filling(folder, task, thoroughly)
    shards = filling.all()
    if changed := task.changed():
        filling.drop()
        raise Refused(f"{changed}: changed while it was encoded", "run again when nobody writes to it")
    if not shards:
        nothing = holds_no_row(", ".join(task.names))
        raise Refused(nothing.problem, nothing.hint)
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


END = (-1, At(), None)


class _Filling:
    """The making of a store."""

    def __init__(self, folder: Path, task: Task, thoroughly: bool) -> None:
        self.folder, self.task, self.thoroughly = folder, task, thoroughly
        self.shards: list[Meta] = []
        self.made: list[int] = []
        """Numbers of the shards that this run made."""
        self.ended = False
        """Whether the input was read to its end."""
        self.progress = Progress([file.path for file in task.source.files])

    def all(self) -> list[Meta]:
        """Return what is known of every shard, all of them whole."""
        self._keep()
        paths.need_space(self.folder, max(0, self.task.size - sum(meta.bytes for meta in self.shards)))
        while (at := self._at()) is not None:
            self.progress.start(at)
            self._make(at)
            self._keep()
        for left in self.folder.glob("[0-9]" * 5):  # of an input that was longer
            if int(left.name) >= len(self.shards):
                shutil.rmtree(left)
        return self.shards

    def drop(self) -> None:
        """Take away what this run made."""
        for number in self.made:
            shutil.rmtree(self.folder / _name(number))

    def _at(self) -> At | None:
        """Return where the input goes on after the shards so far, or None if it does not."""
        if not self.shards:
            return None if self.ended else At()
        end = self.shards[-1].end
        return At.of(end) if end else None

    def _keep(self) -> None:
        """Take the shards that are there."""
        while (kept := self._next()) is not None:
            if kept.bad and self.task.on_bad_row == "refuse":
                row, problem = kept.examples[0]
                raise self._refused(row, problem, "mend the row, or remove it")
            self.shards.append(kept)

    def _next(self) -> Meta | None:
        """Return the shard that comes next, if it is there and whole."""
        if self.shards and self.shards[-1].end is None:
            return None
        kept = read(self.folder / _name(len(self.shards)), self.thoroughly)
        fits = kept and (not self.shards or kept.meta.begin == self.shards[-1].end)
        return kept.meta if kept and fits else None

    def _make(self, at: At) -> None:
        """Make shards until one is met that is there, or the input ends."""
        dtype = ids_dtype(self.task.encoder.tokenizer)
        with contextlib.closing(self._parts(at)) as parts:
            number, begin, part = next(parts, END)
            while part is not None:
                with paths.whole_folder(self.folder / _name(len(self.shards))) as aside:
                    writer, this = ShardWriter(aside, dtype, begin, self.task.names), number
                    while part is not None and number == this:
                        writer.add(self._accepted(part))
                        self.progress.add(part)
                        number, begin, part = next(parts, END)
                    meta = writer.close(begin if part else None)
                self.made.append(len(self.shards))
                self.shards.append(meta)
                if self._next():
                    return
        self.ended = True

    def _parts(self, at: At) -> Generator[tuple[int, At, Part | None], None, None]:
        """Yield parts that have rows, each with its shard, counted from 0, and where it begins."""
        encoder, room, shard = self.task.encoder, self.task.shard_tokens, 0
        with contextlib.closing(
            in_order(encoder, self.task.source.blocks(*at), self.task.processes())
        ) as done:
            for task, part in done:
                if len(part.tokens) >= room:
                    rows, file = encoder.rows(task), part.file
                    while len(part.tokens) >= room:
                        number = encoder.until(rows, room)
                        yield shard, At(file, rows[0].place), encoder.part(file, rows[:number], part.after)
                        rows = rows[number:]
                        part = encoder.part(file, rows, part.after)
                        room, shard = self.task.shard_tokens, shard + 1
                room -= len(part.tokens)
                if part.first is not None:
                    yield shard, At(part.file, part.first), part

    def _accepted(self, part: Part) -> Part:
        if part.story.bad and self.task.on_bad_row == "refuse":
            raise self._refused(*part.story.bad[0])
        return part

    def _refused(self, row: int, problem: str, hint: str) -> Refused:
        error = self.task.source.error(row, BadRow("", problem, hint))
        return Refused(error.problem, f"{error.hint}; 'danlu data check' lists all such rows")


class Store:
    """A whole store, opened."""

    def __init__(self, folder: Path, file: int = 0) -> None:
        """Open it; `file` is added to the numbers of its files.

        May raise OSError, ValueError, KeyError, TypeError or Damaged where it is not whole.
        """
        self.manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if self.manifest["format"] != FORMAT:
            raise ValueError(f"format {self.manifest['format']}")
        self.folder = folder
        self.key = str(self.manifest["key"])
        self.files = [str(file["path"]) for file in self.manifest["files"]]
        self.total = Meta()
        self.shards: list[Kept] = []
        for number, told in enumerate(self.manifest["shards"]):
            self.shards.append(Kept(folder / _name(number), Meta.of(told), file))
            self.total.add(self.shards[-1].meta)
