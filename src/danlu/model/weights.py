"""Finished weights on disk: safetensors and a config.json, in the family's own layout.

    out/full_sft_512/config.json
                     model.safetensors                     or, above `shard_size`,
                     model-00001-of-00003.safetensors ...  with model.safetensors.index.json

In memory all experts of a layer are one stack; on disk each expert has matrices of its own, as published
checkpoints have them. `layout.plan` says which tensor on disk is which part of one of ours; writing and
reading both follow it. Every tensor is accounted for: one that is missing, and one that nobody reads, is
an error.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from danlu.model import layout
from danlu.model.config import read_hf
from danlu.model.disk import Span
from danlu.model.families import laid_out_as, to_hf
from danlu.model.families.family import Family
from danlu.model.laid import Laid
from danlu.model.layout import InMemory, Ours, Target
from danlu.model.shape import ModelConfig
from danlu.model.shards import PIECE, SHARD_SIZE, Written, write

EXACT = ("e_score_correction_bias",)
"""Weights that stay in float32 in any export: a rounded bias on the choice is another choice."""


Change = Callable[[Iterator[Tensor]], Iterator[Tensor]]
"""What is done to the pieces of a tensor on their way."""


def read_config(folder: str | Path) -> ModelConfig:
    """Return the configuration of the weights in a folder."""
    return read_hf(Path(folder))


def save(
    state: Mapping[str, Tensor],
    cfg: ModelConfig,
    folder: str | Path,
    shard_size: int = SHARD_SIZE,
    dtype: torch.dtype | None = None,
    extra: dict[str, Any] | None = None,
) -> None:
    """Write weights and config.json into an existing folder; the caller makes the folder appear whole.

    `dtype` converts what is floating; `extra` goes into config.json, the tokenizer's special tokens for
    instance.
    """
    usual = next(iter(state.values())).dtype
    ours = InMemory(state)

    def number(target: Target) -> torch.dtype:
        return dtype or (ours.dtype(target.pieces[0].unit) if target.pieces else usual)

    save_as(laid_out_as(cfg), ours, cfg, folder, number, shard_size)
    described = to_hf(cfg) | dtype_keys(dtype or usual) | (extra or {})
    write_config(Path(folder), described)


def save_as(
    family: Family,
    ours: Ours,
    cfg: ModelConfig,
    folder: str | Path,
    dtype: Callable[[Target], torch.dtype],
    shard_size: int = SHARD_SIZE,
    done: Callable[[int], None] = lambda size: None,
    change: Callable[[Target], Change | None] = lambda target: None,
) -> Written:
    """Write our tensors in a family's layout, a piece at a time, through what `change` returns for each.

    `done` hears how many bytes were written.
    """
    targets = layout.plan(family, cfg)
    kept = layout.Once(ours)
    formats = {name: dtype(target) for name, target in targets.items()}

    def pieces(name: str) -> Iterator[Tensor | Span]:
        target, way = targets[name], change(targets[name])
        if way is None and (span := ours.span(target, formats[name])):
            yield span
            return
        whole = layout.in_pieces(target, kept, formats[name], PIECE)
        for piece in way(whole) if way else whole:
            yield piece.to(formats[name])

    described = {name: (target.shape, formats[name]) for name, target in targets.items()}
    return write(Path(folder), described, pieces, shard_size, done)


def exact_or(dtype: torch.dtype) -> Callable[[Target], torch.dtype]:
    """Return the number format of every tensor of an export to `dtype`."""
    return lambda target: torch.float32 if target.name.endswith(EXACT) else dtype


def dtype_keys(dtype: torch.dtype) -> dict[str, str]:
    """Return what config.json says of the number format, for transformers 5 and 4."""
    number = str(dtype).removeprefix("torch.")
    return {"dtype": number, "torch_dtype": number}


def write_config(folder: Path, described: dict[str, Any]) -> None:
    """Write config.json."""
    text = json.dumps(described, indent=2, ensure_ascii=False) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")


def load(folder: str | Path, model: nn.Module) -> None:
    """Fill a model with the weights of a folder, converting to the model's number format."""
    cfg: ModelConfig = model.cfg  # type: ignore[assignment]
    _fill(model.state_dict(), Laid(Path(folder), cfg))


def read_state(folder: str | Path, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Return the weights of a folder under our names."""
    cfg = read_config(folder)
    usual = dtype or torch.float32
    state = {name: torch.empty(shape, dtype=usual) for name, shape in layout.shapes(cfg).items()}
    _fill(state, Laid(Path(folder), cfg))
    return state


@torch.no_grad()
def _fill(state: Mapping[str, Tensor], laid: Laid) -> None:
    for target in laid.targets.values():
        if target.pieces:
            found = laid.found(target)
            for unit, part, _ in target.pieces:
                place = state[unit.name]
                layout.fill(place if unit.expert is None else place[unit.expert], part, found)
