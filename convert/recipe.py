"""What an export consists of, said once: writing follows it, and so does checking what was written.

source + architecture + number format (+ adapter)   ->   every tensor, and all of config.json
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convert.adapter import Adapter
from convert.own_head import OwnHead
from convert.source import Source
from danlu.base.errors import UserError, nearest
from danlu.model import layout, weights
from danlu.model.families import FAMILIES, Family, choose, get, own, to_hf
from danlu.model.laid import tied_names
from danlu.model.layout import Target
from danlu.model.shape import ModelConfig

LARGEST_HALF = 65504.0
"""The largest number float16 holds."""


@dataclass(frozen=True)
class Recipe:
    """One model, as one published architecture, in one number format."""

    source: Source
    family: Family
    dtype: torch.dtype | None
    """Of all weights but those that must stay exact; None: each as it is stored."""
    adapter: Adapter | None = None
    stacked: tuple[str, ...] = ()
    """Stacks of experts that lie on disk whole."""

    @functools.cached_property
    def targets(self) -> dict[str, Target]:
        """Every tensor on disk by name."""
        found = layout.plan(self.family, self.source.cfg, self.stacked)
        if self.adapter:
            self.adapter.check_fits(found, self.family.architecture)
            head, embedding = tied_names(self.family)
            self.adapter.check_ties(self.tied, embedding, head)
        return found

    @property
    def tied(self) -> bool:
        """Whether embedding and head are one, though the head may be written out."""
        return self.source.cfg.tie_word_embeddings or isinstance(self.source.ours, OwnHead)

    @functools.cached_property
    def ours(self) -> layout.Ours:
        return layout.Once(self.source.ours)

    def number(self, target: Target) -> torch.dtype:
        """Return the number format a tensor is written in."""
        if self.dtype is not None:
            return weights.exact_or(self.dtype)(target)
        return layout.dtype_of(target, self.source.ours) if target.pieces else self.source.dtype

    def change(self, target: Target) -> weights.Change | None:
        """Return what a tensor goes through before its cast, its adapter or a look at its range, if any."""
        adapted = self.adapter is not None and self.adapter.changes(target.name)
        narrowed = self.number(target) == torch.float16
        return functools.partial(self._changed, target) if adapted or narrowed else None

    def _changed(self, target: Target, pieces: Iterator[Tensor]) -> Iterator[Tensor]:
        for piece in self.adapter.apply(target.name, pieces) if self.adapter else pieces:
            check_range(target.name, piece, self.number(target))
            yield piece

    def expected(self, target: Target, number: torch.dtype | None = None) -> Tensor:
        """Return a tensor as it must lie on disk, made from the source anew."""
        number, way = number or self.number(target), self.change(target)
        whole = layout.build(target, self.ours, number)
        return (next(way(iter([whole]))) if way else whole).to(number)

    def exact(self, target: Target) -> Tensor:
        """Return a tensor as the source has it, with its adapter, before any cast."""
        whole = layout.build(target, self.ours, self.source.dtype)
        if self.adapter and self.adapter.changes(target.name):
            return self.adapter.merged(target.name, whole)
        return whole

    def config(self) -> dict[str, Any]:
        """Return all of config.json."""
        number = weights.dtype_keys(self.dtype or self.source.dtype)
        return to_hf(self.source.cfg, self.family) | number | self.ids()

    def ids(self) -> dict[str, Any]:
        """Return the tokens that begin, end and fill up a text, where the model comes with words."""
        words = self.source.tokenizer
        if words is None:
            return {}
        ends = self.source.ends()
        ids = {"bos": words.bos_id, "eos": ends[0] if len(ends) == 1 else ends, "pad": words.pad_id}
        return {f"{name}_token_id": number for name, number in ids.items()}

    def why(self) -> str:
        """Return what makes this architecture the one."""
        about = sys.modules[FAMILIES.get(self.family.model_type, own.__name__)].__doc__ or ""
        return " ".join(about.split("\n\n")[0].split())

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(layout.size(target) * self.number(target).itemsize for target in self.targets.values())


def check_range(name: str, piece: Tensor, dtype: torch.dtype) -> None:
    """Refuse numbers that float16 would make infinite."""
    if dtype == torch.float16 and piece.numel() and (largest := float(piece.abs().max())) > LARGEST_HALF:
        problem = f"{name}: holds {largest:.4g}, and float16 ends at {LARGEST_HALF:.0f}"
        raise UserError(problem, "--dtype bfloat16")


def architecture(cfg: ModelConfig, named: str) -> Family:
    """Return the family a model leaves as: the best one that can be it exactly, or the one that was named."""
    if named == "auto":
        return choose(cfg)
    known = {name: name for name in FAMILIES} | {get(name).architecture: name for name in FAMILIES}
    if named not in known:
        raise UserError(f"--arch: there is no architecture '{named}'", nearest(named, known))
    family = get(known[named])
    reasons = family.why_not(cfg) if family.is_moe == (cfg.moe is not None) else []
    if family.is_moe != (cfg.moe is not None):
        kinds = {True: "a mixture of experts", False: "dense"}
        raise UserError(f"--arch: {named} is {kinds[family.is_moe]}, the model is not", "--arch auto")
    if reasons or not family.leaves:
        problem = " and ".join(reason.problem for reason in reasons) or "is read here, never written"
        raise UserError(f"--arch: {family.architecture} {problem}", "--arch auto, or another")
    return family
