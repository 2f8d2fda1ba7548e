"""A run's checkpoint as a source, gathered from its shards while it is read."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from convert.source import CHECKPOINT, Source
from danlu.base import config
from danlu.base.errors import UserError
from danlu.checkpoint import manifest, store
from danlu.checkpoint.reader import Reader
from danlu.checkpoint.state import saved
from danlu.generate import load
from danlu.model import config as model_config
from danlu.model import layout
from danlu.model.disk import Span
from danlu.model.layout import Target, Unit
from danlu.model.shape import ModelConfig
from danlu.tokenizer.tokenizer import Tokenizer


def opened(named: str, folder: Path, beside: Path | None) -> Source:
    """Return a run's newest whole checkpoint, or the one named; `beside` holds its words, if not the run."""
    step = store.whole_step(folder, load.suggestion(folder))
    assert step is not None
    settings = config.read(step.parent / "config.yaml")
    cfg = model_config.resolve(settings["model"], servable=False)
    words = beside or settings.get("tokenizer") or settings.get("from") or "starter"
    steps = Steps(step, cfg)
    about = manifest.read(step)
    told = {**load.lineage(settings), "step": about["step"]}
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

    def span(self, target: Target, dtype: torch.dtype) -> Span | None:
        return None

    def dtype(self, unit: Unit) -> torch.dtype:
        return self.saved[unit.name].dtype

    def dtypes(self) -> dict[torch.dtype, int]:
        found: dict[torch.dtype, int] = {}
        for tensor in self.saved.values():
            found[tensor.dtype] = found.get(tensor.dtype, 0) + tensor.shape.numel()
        return found
