"""Our tensors in a folder of weights that lie there as some family lays them out.

Opened, the folder is whole: every tensor the family has is there, in its shape, and every tensor that is
there belongs to it. What published files hold besides is named by the family or equal to what is read.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from danlu.base.errors import UserError
from danlu.base.log import say
from danlu.model import layout
from danlu.model.config import read_type
from danlu.model.disk import Disk, Span
from danlu.model.families import get
from danlu.model.families.family import Family
from danlu.model.layout import Target, Unit
from danlu.model.shape import ModelConfig

STACKS = (".experts.gate_up_proj", ".experts.down_proj")


class Laid:
    """Our tensors, by unit, in a folder of weights."""

    def __init__(self, folder: Path, cfg: ModelConfig, family: Family | None = None) -> None:
        self.folder, self.cfg = folder, cfg
        self.family = family or get(read_type(folder))
        self.disk = Disk(folder)
        if cfg.num_hidden_layers > len(self.disk.stored):
            problem = f"{cfg.num_hidden_layers} layers, and there are {len(self.disk.stored)} tensors"
            raise UserError(f"{folder}: num_hidden_layers: {problem}", "the config.json of these weights")
        self.names = _Names(self.disk, self.family)
        stacked = [name for name in self.names if name.endswith(STACKS)]
        self.targets = layout.plan(self.family, cfg, stacked)
        self._of: dict[Unit, list[Target]] = {}
        for target in self.targets.values():
            for made in target.pieces:
                self._of.setdefault(made.unit, []).append(target)
        self._check()

    def dtype(self, unit: Unit) -> torch.dtype:
        """Return the number format that holds all of a unit, as its parts are stored."""
        targets = self._of.get(unit) or self._of.get(Unit(unit.name)) or self._experts(unit)
        found = (self.disk.stored[self.names[target.name]].dtype for target in targets)
        return functools.reduce(torch.promote_types, found)

    def _experts(self, unit: Unit) -> list[Target]:
        count = self.cfg.moe.num_experts if self.cfg.moe else 0
        return [target for expert in range(count) for target in self._of[Unit(unit.name, expert)]]

    def unit(self, unit: Unit) -> Tensor:
        """Return one of our tensors, or one expert's share, in the number format it is stored in."""
        if unit not in self._of and unit.expert is not None:
            return self.disk.rows(self.names[unit.name], unit.expert, unit.expert + 1)[0]
        if unit not in self._of:
            experts = range(self.cfg.moe.num_experts if self.cfg.moe else 0)
            number = self.dtype(unit)
            return torch.stack([self.unit(Unit(unit.name, expert)).to(number) for expert in experts])
        pieces = [(target, made) for target in self._of[unit] for made in target.pieces if made.unit == unit]
        first = pieces[0][1]
        if len(pieces) == 1 and not first.part.fused and not first.part.place and first.part.factor == 1.0:
            return self.found(pieces[0][0])
        whole = torch.empty(first.shape, dtype=self.dtype(unit))
        for target, made in pieces:
            layout.fill(whole, made.part, self.found(target))
        return whole

    def lies(self, target: Target) -> bool:
        """Return whether a tensor of some layout is one that lies here."""
        return bool(target.shape and target.pieces) and self.targets.get(target.name) == target

    def run(self, target: Target, begin: int, end: int) -> Tensor:
        """Return some rows of one that does, as the family means them."""
        rows = self.disk.rows(self.names[target.name], begin, end)
        return self.family.read(target.name, rows, self.cfg)

    def span(self, target: Target, dtype: torch.dtype) -> Span | None:
        """Return where a tensor of some layout lies as such in that number format, if it does."""
        if not self.lies(target) or self.family.reads_otherwise:
            return None
        stored = self.disk.stored[self.names[target.name]]
        plain = stored.pickled is None and stored.dtype == dtype
        return Span(stored.file, stored.begin, stored.nbytes) if plain else None

    def found(self, target: Target) -> Tensor:
        """Return a tensor on disk, as the family means it."""
        return self.family.read(target.name, self.disk.get(self.names[target.name]), self.cfg)

    def _check(self) -> None:
        """Refuse weights of which a tensor is missing, misshapen, or read by nobody."""
        for target in self.targets.values():
            if target.pieces or target.name in self.names:  # a zero that is not there is a zero
                self._check_target(target)
        read = {self.names[name] for name in self.targets if name in self.names}
        for name in self.disk:
            if name not in read:
                self._account_for(name)

    def _check_target(self, target: Target) -> None:
        stored = self.disk.stored.get(self.names[target.name])
        if stored is None:
            raise UserError(
                f"{self.folder}: {target.name}: is missing",
                "whole weights of the same architecture; an unfinished download is a common cause",
            )
        if stored.shape != target.shape:
            raise UserError(
                f"{self.folder}: {target.name}: is {stored.shape}, the model wants {target.shape}",
                "weights of the same architecture, or the model of these weights (model= their folder)",
            )
        if not target.pieces and self.disk.get(self.names[target.name]).any():
            raise UserError(
                f"{self.folder}: {target.name}: is not zero, so it was trained elsewhere",
                "remove the section 'danlu' from its config.json to read it as what it has become",
            )

    def _account_for(self, name: str) -> None:
        """Pass over a tensor that is known to say nothing more, or refuse the folder."""
        ours = self.names.ours(name)
        if any(re.fullmatch(pattern, ours) for pattern in self.family.unread):
            return
        if reason := self.family.left_out(ours, self.cfg):
            say(f"{self.folder}: {name}: {reason}")
            return
        if self.cfg.tie_word_embeddings and self.names.is_tied_head(name):
            return
        raise UserError(
            f"{self.folder}: {name}: belongs to no part of a {self.family.architecture} of this config.json",
            "weights of the same architecture; what nobody reads would be lost without a word",
        )


class _Names:
    """What tensors are called in one folder: some published files leave out the first component."""

    def __init__(self, disk: Disk, family: Family) -> None:
        self.disk, self.prefix = disk, family.prefix
        self.short = bool(self.prefix) and not any(name.startswith(self.prefix) for name in disk)
        self.head, self.embedding = tied_names(family)

    def __contains__(self, name: str) -> bool:
        return self[name] in self.disk

    def __iter__(self) -> Iterator[str]:
        return (self.ours(name) for name in self.disk)

    def __getitem__(self, name: str) -> str:
        return name.removeprefix(self.prefix) if self.short else name

    def ours(self, name: str) -> str:
        return self.prefix + name if self.short and not name.startswith("lm_head.") else name

    def is_tied_head(self, name: str) -> bool:
        """Whether a tensor is the head of a tied model, which must be its embedding, bit for bit."""
        if name != self.head:
            return False
        if torch.equal(self.disk.get(name), self.disk.get(self[self.embedding])):
            return True
        raise UserError(
            f"{self.disk.path}: {name}: differs from {self.embedding}, and config.json says they are one",
            '"tie_word_embeddings": false in config.json, if the head was trained apart',
        )


def tied_names(family: Family) -> tuple[str, str]:
    """Return what the head and the embedding are called on disk, which are one in a tied model."""
    names = ["lm_head.weight", "model.embed_tokens.weight"]
    for ours, theirs in family.renames:
        names = [name.replace(ours, theirs) for name in names]
    return names[0], names[1]
