"""Reading and writing MiniMind's models: one .pth file, weights by name, no configuration.

    read    file -> tensors -> shape (told, or assumed and reported) -> our weights, made when asked for
    write   our weights -> pieces in MiniMind's order -> one file, whole or absent

Every tensor has to find its place and every place its tensor: what is left over, missing or of another
shape is an error that names it. Written again, a file holds the same names in the same order and the
same bits, tied weights once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convert import minimind_file, minimind_first
from convert.minimind_lora import Lora, split
from convert.minimind_names import HEAD, Piece, pieces
from convert.minimind_rules import refuse
from convert.minimind_shape import Hints, Shape, hints_for, settings
from danlu.base import paths
from danlu.base.errors import UserError
from danlu.model.build import build_empty
from danlu.model.shape import ModelConfig

__all__ = ["Found", "Hints", "hints_for", "read", "settings", "write"]


@dataclass(frozen=True)
class Found:
    """A model as it was found in a file."""

    cfg: ModelConfig
    state: Mapping[str, Tensor]
    """Weights under our names; each is made when it is asked for."""
    generation: str
    """'1', '2' or '3'."""
    assumed: dict[str, Any]
    """What neither the tensors nor the hints told: the generation's defaults."""
    dtype: torch.dtype
    lora: Lora | None = None
    """An adapter that lay in the same file, as in the checkpoints of MiniMind's LoRA trainer."""


def read(path: Path, hints: Hints | None = None) -> Found:
    """Return the model in a file of MiniMind's, finished weights or a checkpoint to resume from."""
    tensors, lora = split(minimind_file.tensors(path), str(path))
    if not tensors:
        raise UserError(f"{path}: holds an adapter, not a model", "the file of the model it was trained on")
    first = minimind_first.is_first(tensors)
    if first:
        tensors = minimind_first.renamed(tensors)
    shape = Shape(tensors, hints or Hints(), str(path), "1" if first else None)
    cfg = shape.config()
    if first:
        tensors = {name: minimind_first.turned(name, tensor, cfg) for name, tensor in tensors.items()}
    state = _Weights(tensors, cfg, shape.generation)
    state.check(path)
    return Found(cfg, state, shape.generation, shape.assumed, state.dtype, lora)


class _Weights(Mapping[str, Tensor]):
    """Our weights, each put together from the file's when it is asked for."""

    def __init__(self, tensors: dict[str, Tensor], cfg: ModelConfig, generation: str) -> None:
        self.tensors = tensors
        self.shapes = build_empty(cfg, "meta").state_dict()
        self.dtype = reduce(torch.promote_types, (tensor.dtype for tensor in tensors.values()))
        self.parts: dict[str, list[Piece]] = {name: [] for name in self.shapes}
        for piece in pieces(cfg, generation):
            if piece.theirs == HEAD and cfg.tie_word_embeddings:
                continue  # it is the embedding, as was found when the shape was
            self.parts[piece.ours].append(piece)

    def check(self, path: Path) -> None:
        """Refuse a file in which a tensor is missing, misshapen or left over."""
        left = set(self.tensors) - {HEAD}
        for ours, parts in self.parts.items():
            for piece in parts:
                if piece.theirs not in self.tensors:
                    raise UserError(f"{path}: {piece.theirs}: is missing", "a whole file of a MiniMind model")
                found = tuple(self.tensors[piece.theirs].shape)
                wanted = tuple(piece.of(self.shapes[ours]).shape)
                if found != wanted:
                    raise UserError(
                        f"{path}: {piece.theirs}: is {found}, the rest of the model wants {wanted}",
                        "a file of one model, not mixed from several",
                    )
                left.discard(piece.theirs)
        if left:
            raise UserError(
                f"{path}: {', '.join(sorted(left)[:3])}: has no place in a model of MiniMind's",
                "a model that MiniMind's own trainers wrote",
            )

    def __getitem__(self, name: str) -> Tensor:
        parts = self.parts[name]
        if len(parts) == 1:
            return self.tensors[parts[0].theirs].to(self.dtype)
        whole = torch.empty(self.shapes[name].shape, dtype=self.dtype)
        for piece in parts:
            piece.of(whole).copy_(self.tensors[piece.theirs])
        return whole

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)


def write(
    state: Mapping[str, Tensor],
    cfg: ModelConfig,
    path: Path,
    generation: str = "auto",
    proof: Callable[[Path], None] = lambda aside: None,
) -> dict[str, Any]:
    """Write a model as one file of MiniMind's; return the keywords its MiniMindConfig needs to read it.

    `generation` "auto" is 3 for a model with head norms and 2 for one without; a model that MiniMind's
    own cannot be is refused with the reasons. The file appears once `proof` has let it pass.
    """
    if generation == "auto":
        generation = "3" if cfg.qk_norm else "2"
    refuse(cfg, generation)
    theirs = {piece.theirs: _piece(state, piece) for piece in pieces(cfg, generation)}
    paths.need_writable(path.parent)
    paths.need_space(path.parent, sum(tensor.nbytes for tensor in theirs.values()))
    path.parent.mkdir(parents=True, exist_ok=True)
    with paths.whole_path(path) as aside:
        torch.save(theirs, aside)
        proof(aside)
    return settings(cfg, generation)


def _piece(state: Mapping[str, Tensor], piece: Piece) -> Tensor:
    if piece.ours not in state:
        raise UserError(f"{piece.ours}: is missing", "the whole weights of the model")
    tensor = piece.of(state[piece.ours].detach())
    # A view would drag all that it is a part of into the file.
    return tensor.clone(memory_format=torch.contiguous_format) if piece.place else tensor.contiguous()
