"""A model to be converted: its shape, its weights one by one, its words, where it is from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from danlu.base.errors import UserError
from danlu.generate import load
from danlu.model.layout import Ours
from danlu.model.shape import ModelConfig
from danlu.tokenizer.tokenizer import Tokenizer

CHECKPOINT = "checkpoint"
WORDS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")


@dataclass(frozen=True)
class Source:
    """One of them, opened."""

    named: str
    """As the user wrote it."""
    folder: Path
    kind: str
    """What it is, in words."""
    cfg: ModelConfig
    ours: Ours
    dtypes: dict[torch.dtype, int]
    """How many numbers there are of each format."""
    tokenizer: Tokenizer | None
    provenance: dict[str, Any] = field(default_factory=dict)
    """What run.json tells."""

    @property
    def dtype(self) -> torch.dtype:
        """The number format of most of it."""
        return max(self.dtypes, key=lambda dtype: self.dtypes[dtype])

    @property
    def place(self) -> str:
        """What to open to find the same again: a run that goes on has a newer checkpoint by then."""
        return str(self.folder) if self.kind == CHECKPOINT else self.named

    def told(self) -> dict[str, Any]:
        """Return where it is from, for whoever keeps it."""
        return {"path": self.named, "kind": self.kind, **self.provenance}

    def ends(self) -> list[int]:
        """Return the tokens that end an answer."""
        return sorted(load.ends(self.folder, self.tokenizer)) if self.tokenizer else []


def words_of(
    folder: Path, cfg: ModelConfig, required: bool = False, trained: bool = False
) -> Tokenizer | None:
    """Return the tokenizer in a folder; a trained model's must be the one it was trained with."""
    if not required and not any((folder / name).exists() for name in WORDS):
        return None
    found = load.checked(Tokenizer.load(folder), cfg, folder)
    known = load.provenance(folder).get("tokenizer") if trained else None
    if isinstance(known, str) and known != found.fingerprint:
        problem = f"{folder}/tokenizer.json: is another one than the model was trained with, by its run.json"
        raise UserError(problem, "put back the tokenizer.json and tokenizer_config.json that it came with")
    return found
