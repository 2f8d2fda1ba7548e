"""A starter set as a folder: every file with its rows, made anew byte for byte from a seed.

    pretrain.jsonl  sft.jsonl  identity.jsonl  dpo.jsonl  reason.jsonl  rlaif.jsonl  tools.jsonl  classify.csv
    notes.jsonl
    heldout/        the same names: questions no training file asks, about facts that every one of them knows
    schemas/        a few rows in every other shape that is read
    README.md  README.zh-CN.md

Each file has dice of its own, so one file's rows do not depend on another's.
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from danlu.starter import (
    chats,
    notes,
    preferences,
    readme,
    reviews,
    schemas,
    texts,
    tools,
    tools_variants,
)
from danlu.starter.world import World

Rows = Iterable[dict[str, Any]]
Maker = Callable[[Sequence[World], random.Random, bool, int], Rows]
PATIENCE = 200  # rows in a row that have all been made before, until one may be repeated
MEDIUM = 10  # times as much as small


class File(NamedTuple):
    """How the rows of a file are made, and how many a small set has of them."""

    make: Maker
    rows: int
    heldout: int


def distinct(make: Callable[[int], dict[str, Any]], count: int) -> Iterator[dict[str, Any]]:
    """Yield rows that differ from each other, as long as such are found; `make` is told their number."""
    seen: set[str] = set()
    for number in range(count):
        for _ in range(PATIENCE):
            row = make(number)
            if (said := json.dumps(row, ensure_ascii=False)) not in seen:
                break
        seen.add(said)
        yield row


def each(make: Callable[[Sequence[World], random.Random, bool], dict[str, Any]]) -> Maker:
    """Return a maker of a file's rows from one of a single row."""

    def rows(worlds: Sequence[World], dice: random.Random, heldout: bool, count: int) -> Rows:
        return distinct(lambda number: make(worlds, dice, heldout), count)

    return rows


def _reviews(worlds: Sequence[World], dice: random.Random, heldout: bool, count: int) -> Rows:
    """Yield praise and complaint in turns."""
    return distinct(lambda number: reviews.classify(worlds, dice, heldout, number % 2), count)


def _tools(worlds: Sequence[World], dice: random.Random, heldout: bool, count: int) -> Rows:
    languages = [world.language for world in worlds]
    if heldout:
        return tools.dialogues(dice, heldout, count, languages)
    return tools_variants.training(dice, count, languages)


FILES = {
    "pretrain.jsonl": File(each(texts.pretrain), 16000, 800),
    "sft.jsonl": File(each(chats.sft), 16000, 800),
    "identity.jsonl": File(each(chats.identity), 2000, 200),
    "dpo.jsonl": File(each(preferences.dpo), 3000, 300),
    "reason.jsonl": File(each(chats.reason), 3000, 300),
    "rlaif.jsonl": File(each(chats.rlaif), 1500, 200),
    "tools.jsonl": File(_tools, 14000, 300),
    "classify.csv": File(_reviews, 2000, 200),
    "notes.jsonl": File(each(notes.notes), 12000, 300),
}
SIZES = {"small": 1, "medium": MEDIUM}


class Written(NamedTuple):
    """A file that was written."""

    path: Path
    rows: int
    bytes: int


def write(folder: Path, worlds: Sequence[World], seed: int, size: str) -> Iterator[Written]:
    """Write every file into a folder, telling each."""
    for side in ("", "heldout"):
        (folder / side).mkdir(exist_ok=True)
        for number, (name, file) in enumerate(FILES.items()):
            dice = random.Random(1000 * seed + 2 * number + bool(side))
            count = file.heldout if side else file.rows * SIZES[size]
            path = folder / side / name
            yield _save(path, file.make(worlds, dice, bool(side), count))
    (folder / "schemas" / "img").mkdir(parents=True)
    for name, content in schemas.rows(random.Random(seed)):
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            yield _save(folder / name, content)
    for name, text in readme.FILES.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


def _save(path: Path, rows: Rows) -> Written:
    """Write rows as JSON lines, or as a table with the first row's keys above it."""
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n") if path.suffix == ".csv" else None
        for row in rows:
            if table is None:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
            else:
                if not count:
                    table.writerow(row)
                table.writerow(row.values())
            count += 1
    return Written(path, count, path.stat().st_size)
