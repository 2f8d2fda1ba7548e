"""Opening MiniMind's .pth files: tensors by name, and never a line of anybody's code.

A .pth file is a pickle, and a pickle is a program. torch's weights-only reader runs none of it; a file
that cannot be read that way is refused, whoever it comes from. Tensors are mapped, not loaded.

    full_sft_512.pth           {name: tensor}
    full_sft_512_resume.pth    {"model": {name: tensor}, "optimizer": ..., "step": ...}
    from several devices       module.NAME, _orig_mod.NAME, or one in the other

Rotary tables and causal masks, which early versions saved along, follow from the shape: not weights.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from danlu.base.errors import UserError
from danlu.model.disk import unpickled

WRAPPERS = ("module.", "_orig_mod.")
TABLES = ("freqs_cos", "freqs_sin", "pos_cis", "attention.mask")
WANTED = "a .pth file written by MiniMind's trainers"


def tensors(path: Path) -> dict[str, Tensor]:
    """Return the weights in a file, whatever they were wrapped in, under MiniMind's names."""
    data = unpickled(path, WANTED)
    if isinstance(data, dict) and isinstance(data.get("model"), dict):
        data = data["model"]
    if not isinstance(data, dict) or not data:
        raise UserError(f"{path}: holds a {type(data).__name__}, not tensors by name", WANTED)
    found = {}
    for key, tensor in data.items():
        if not isinstance(tensor, Tensor):
            raise UserError(f"{path}: {key}: is a {type(tensor).__name__}, not a tensor", WANTED)
        name = bare(str(key))
        if name in found:
            raise UserError(f"{path}: {key}: is there twice, once in a wrapper", WANTED)
        if not name.endswith(TABLES):
            found[name] = _weight(path, name, tensor)
    return found


def bare(name: str) -> str:
    """Return a name without what data parallelism and compilation put before it.

    >>> bare("module._orig_mod.model.norm.weight")
    'model.norm.weight'
    """
    while name.startswith(WRAPPERS):
        name = name.partition(".")[2]
    return name


def _weight(path: Path, name: str, tensor: Tensor) -> Tensor:
    if name.startswith("value_head."):
        raise UserError(
            f"{path}: {name}: belongs to a critic, which scores texts and writes none",
            "the actor's file, which the same training wrote",
        )
    if not tensor.is_floating_point():
        raise UserError(f"{path}: {name}: holds {tensor.dtype}, not real numbers", "weights as trained")
    return tensor
