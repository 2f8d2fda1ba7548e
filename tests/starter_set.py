"""A starter set, made as a user makes it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from danlu.data_starter import command

PURPOSES = {
    "pretrain.jsonl": "pretrain",
    "sft.jsonl": "chat",
    "identity.jsonl": "chat",
    "dpo.jsonl": "preference",
    "reason.jsonl": "chat",
    "rlaif.jsonl": "prompt",
    "tools.jsonl": "chat",
    "classify.csv": "classify",
    "notes.jsonl": "pretrain",
}


def make(out: Path, *options: str) -> Path:
    done = CliRunner().invoke(command, ["--out", str(out), *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return out


def rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def said(row: dict[str, Any], *roles: str) -> Iterator[str]:
    """Yield what some roles (or all) say in a row of any file."""
    if "text" in row and not roles:
        yield row["text"]
    for key in ("conversations", "messages", "chosen", "rejected"):
        for message in row.get(key, ()):
            if message.get("content") and (not roles or message["role"] in roles):
                yield message["content"]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
