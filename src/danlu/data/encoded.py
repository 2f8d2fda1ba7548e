"""The samples of some files: found in the cache, encoded into it now, or opened where they were prepared.

    cache/encoded/<key>/          a store (store.py), which appears in one rename
    cache/encoded/<key>.making/   one in the making; begun again, it goes on after its last whole shard

The key is a hash of what decides the content: the files' bytes, how they are read, kind, tokenizer,
template, options. Processes that want the same store queue at a lock, which ends with its holder however
that dies; where the file system has no locks they all work, and the first to be done is taken.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from danlu.base import paths
from danlu.base.errors import UserError, pick
from danlu.base.log import say
from danlu.data.encode import Options, Tally
from danlu.data.formats import Reading
from danlu.data.parts import BlockEncoder
from danlu.data.prepared import are_prepared, opened
from danlu.data.rows import split_row
from danlu.data.samples import Samples
from danlu.data.shards import Damaged
from danlu.data.sources import Source
from danlu.data.store import ON_BAD_ROW, Refused, Store, Task, fill, key_of
from danlu.data.turns import locked
from danlu.tokenizer.tokenizer import Tokenizer


class Encoded(Samples):
    """Samples of stores, and what happened when they were made."""

    def __init__(self, stores: Sequence[Store], key: str, files: Sequence[str]) -> None:
        super().__init__([shard for store in stores for shard in store.shards], key, files)
        self.tally = Tally()
        self.shapes: Counter[str] = Counter()
        self.bad = 0
        """Rows that were left out."""
        self.examples: list[tuple[int, str]] = []
        """Row and problem of the first of them in the first store that has any."""
        for store in stores:
            self.tally.add(store.total.tally)
            self.shapes.update(store.total.shapes)
            self.bad += store.total.bad
            self.examples = self.examples or store.total.examples


def encoded(
    paths_: Sequence[str | Path],
    kind: str,
    tokenizer: Tokenizer,
    options: Options,
    reading: Reading | None = None,
    on_bad_row: str = "refuse",
    workers: int = 0,
) -> Encoded:
    """Return the samples of some files: from the cache, encoded now, or prepared before."""
    encoder = BlockEncoder(kind, tokenizer, options, reading or Reading())
    return encoded_by(encoder, paths_, on_bad_row, workers)


def encoded_by(
    encoder: BlockEncoder, paths_: Sequence[str | Path], on_bad_row: str = "refuse", workers: int = 0
) -> Encoded:
    """Return the same, given all that decides what a row becomes."""
    pick("way with bad rows", on_bad_row, ON_BAD_ROW)
    if are_prepared(paths_):
        stores, key = opened([Path(path) for path in paths_], encoder)
        found = Encoded(stores, key, [file for store in stores for file in store.files])
    else:
        task = Task(Source(paths_, encoder.kind, encoder.reading), encoder, on_bad_row, workers=workers)
        try:
            found = _find_or_make(task)
        except OSError as error:
            where = Path(error.filename or paths.cache())
            in_cache = where.is_relative_to(paths.cache())
            hint = "set DANLU_CACHE to a writable folder with room" if in_cache else "look at that file"
            raise UserError(f"{where}: {error.strerror}", hint) from None
    _tell(found, ", ".join(map(str, paths_)), encoder.options)
    return found


def _tell(found: Encoded, names: str, options: Options) -> None:
    """Say what there is, and refuse it if that is nothing."""
    for shape, count in found.shapes.items():
        say(f"found: {shape}, {count:,} rows")
    for line in found.tally.lines(options.seq_len):
        say(f"{names}: {line}")
    if found.bad:
        row, problem = found.examples[0]
        say(f"{names}: skipped {found.bad:,} bad rows, e.g. {found.where(row)}: {problem}")
    if not len(found):
        rows = found.tally.rows + found.bad
        raise UserError(f"{names}: there is nothing to learn in {rows:,} rows", "look at the rows")


def _find_or_make(task: Task) -> Encoded:
    """Return what the cache holds for an input, making it first if nobody has."""
    described = task.described()
    folder = paths.cache() / "encoded" / key_of(described)
    store = _open(folder)
    if store is None:
        with locked(folder.with_name(folder.name + ".lock")) as alone:
            store = _open(folder)  # another process may have made it while we waited
            if store is None:
                _make(folder, alone, task, described)
                store = _open(folder)
    assert store is not None, f"{folder} was written and cannot be read"
    return Encoded([store], store.key, task.names)


def _open(folder: Path) -> Store | None:
    """Return a store of the cache, or None if it is absent or not whole."""
    try:
        return Store(folder)
    except (OSError, ValueError, KeyError, TypeError, Damaged):
        return None


def _make(folder: Path, alone: bool, task: Task, described: dict[str, object]) -> None:
    """Encode everything and write it to the cache; only one process at a time may go on with another's."""
    suffix = ".making" if alone else f".making-{platform.node()}-{os.getpid()}"
    aside = folder.with_name(folder.name + suffix)
    if alone and folder.exists() and not aside.exists():
        folder.rename(aside)  # damaged: what is whole of it stays
    try:
        fill(aside, task, described)
        if folder.exists():
            if not alone and _open(folder):
                raise FileExistsError(folder)
            shutil.rmtree(folder)
        aside.rename(folder)
        paths.sync(folder.parent)
    except FileExistsError:
        shutil.rmtree(aside)  # another process was faster
    except Refused:
        shutil.rmtree(aside, ignore_errors=True)  # what is mended is another input
        raise
    _tell_bad(folder, task)


def _tell_bad(folder: Path, task: Task) -> None:
    """Say the first of the rows that were just left out."""
    store = Store(folder)
    for row, problem in store.total.examples:
        file, number = split_row(row)
        say(f"skipped: {task.names[file]}:{number + 1}: {problem}")
    if store.total.bad > len(store.total.examples):
        say(f"all {store.total.bad:,} are listed in {folder / 'bad.txt'}")
