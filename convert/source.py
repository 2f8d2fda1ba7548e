"""What a path stands for, opened: a model's shape, its weights one by one, its words, where it is from.

out/full_sft_512/                             finished weights, or any folder a family is known of
runs/full_sft_512/20261121-093000/            a run: its newest whole checkpoint
runs/full_sft_512/20261121-093000/step-000500 that checkpoint, gathered from its shards while reading
hf://owner/name                               a model of a hub, fetched first
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convert import minimind
from convert.meaning import differences
from convert.minimind import Hints
from convert.reading import read_json
from danlu.base import config
from danlu.base.errors import UserError
from danlu.checkpoint import manifest, store
from danlu.checkpoint.reader import Reader
from danlu.checkpoint.state import saved
from danlu.generate import load
from danlu.hub import models
from danlu.model import config as model_config
from danlu.model import layout
from danlu.model.families import FAMILIES, OURS, get, to_hf
from danlu.model.laid import Laid
from danlu.model.layout import InMemory, Ours, Target, Unit
from danlu.model.shape import ModelConfig
from danlu.tokenizer.tokenizer import Tokenizer

CHECKPOINT = "checkpoint"
WORDS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")


@dataclass(frozen=True)
class Source:
    """A model to be converted."""

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


def open_source(named: str | Path, hints: Hints | None = None, words: Path | None = None) -> Source:
    """Return the model that a path or a name on a hub stands for; `hints` tell what no .pth file does.

    `words` is a folder with the tokenizer of a model that has none, or none that is read here.
    """
    if Path(named).suffix == ".pth":
        return _minimind(str(named), hints, words)
    hub = models.named(str(named))
    if hub:
        model_config.read_hf(models.described(hub))  # refused before its weights are fetched
    folder = models.whole(hub) if hub else Path(named)
    step = store.whole_step(folder, load.suggestion(folder))
    if step is not None:
        return _checkpoint(str(named), step, words)
    load.check_folder(folder)
    cfg = model_config.read_hf(folder)
    check_unchanged(folder, cfg)
    laid = Laid(folder, cfg)
    return Source(
        str(named),
        folder,
        "finished weights" if load.provenance(folder) else f"weights of {laid.family.architecture}",
        cfg,
        laid,
        laid.disk.dtypes(),
        _tokenizer(folder, cfg, trained=True) if words is None else _tokenizer(words, cfg, required=True),
        load.provenance(folder),
    )


def check_unchanged(folder: Path, cfg: ModelConfig) -> None:
    """Refuse a config.json of ours in which others read another model by now than our section says."""
    described = read_json(folder / "config.json")
    if OURS not in described or described.get("model_type") not in FAMILIES:
        return
    for key, found, wanted in differences(described, to_hf(cfg, get(described["model_type"]))):
        problem = f"{folder}/config.json: {key}: was changed to {found!r}, it was trained as {wanted!r}"
        raise UserError(
            problem, f"change it back; or remove the section '{OURS}', to export what it says now"
        )


def _tokenizer(
    folder: Path, cfg: ModelConfig, required: bool = False, trained: bool = False
) -> Tokenizer | None:
    if not required and not any((folder / name).exists() for name in WORDS):
        return None
    found = load.checked(Tokenizer.load(folder), cfg, folder)
    known = load.provenance(folder).get("tokenizer") if trained else None
    if isinstance(known, str) and known != found.fingerprint:
        problem = f"{folder}/tokenizer.json: is another one than the model was trained with, by its run.json"
        raise UserError(problem, "put back the tokenizer.json and tokenizer_config.json that it came with")
    return found


def _minimind(named: str, hints: Hints | None, words: Path | None) -> Source:
    file = Path(named)
    found = minimind.read(file, hints)
    if found.lora:
        raise UserError(
            f"{file}: holds a model and an adapter beside it", "the finished weights, or the adapter"
        )
    beside = file.parent.parent / "model"  # where MiniMind's own checkout keeps its words
    dtypes = {found.dtype: sum(tensor.numel() for tensor in found.state.values())}
    return Source(
        named,
        file,
        f"MiniMind, generation {found.generation}",
        found.cfg,
        InMemory(found.state),
        dtypes,
        _tokenizer(words or beside, found.cfg, required=words is not None),
        {"assumed": found.assumed},
    )


def _checkpoint(named: str, step: Path, beside: Path | None) -> Source:
    settings = config.read(step.parent / "config.yaml")
    cfg = model_config.resolve(settings["model"], servable=False)
    words = beside or settings.get("tokenizer") or settings.get("from") or "starter"
    steps = Steps(step, cfg)
    about = manifest.read(step)
    told = {"stage": settings.get("stage", ""), "step": about["step"], "config": settings}
    tokenizer = load.checked(Tokenizer.load(words), cfg, step)
    return Source(named, step, CHECKPOINT, cfg, steps, steps.dtypes(), tokenizer, told)


class Steps:
    """Our tensors in a checkpoint, however many ranks wrote it."""

    def __init__(self, step: Path, cfg: ModelConfig) -> None:
        self.step, self.reader = step, Reader(step)
        self.saved = saved(step, "model")
        wanted = layout.shapes(cfg)
        for name in wanted.keys() | self.saved.keys():
            if name not in wanted or name not in self.saved or wanted[name] != tuple(self.saved[name].shape):
                problem = f"{step}: {name}: does not fit the model in config.yaml"
                raise UserError(problem, "choose another checkpoint of the run")

    def unit(self, unit: Unit) -> Tensor:
        if unit.expert is None:
            return self.reader.rows(f"model/{unit.name}")
        return self.reader.rows(f"model/{unit.name}", unit.expert, unit.expert + 1)[0]

    def lies(self, target: Target) -> bool:
        return target.is_ours and bool(target.shape)

    def run(self, target: Target, begin: int, end: int) -> Tensor:
        return self.reader.rows(f"model/{target.name}", begin, end)

    def dtype(self, unit: Unit) -> torch.dtype:
        return self.saved[unit.name].dtype

    def dtypes(self) -> dict[torch.dtype, int]:
        found: dict[torch.dtype, int] = {}
        for tensor in self.saved.values():
            found[tensor.dtype] = found.get(tensor.dtype, 0) + tensor.shape.numel()
        return found
