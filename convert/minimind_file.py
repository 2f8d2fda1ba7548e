"""Opening MiniMind's .pth files: tensors by name, and never a line of anybody's code.

A .pth file is a pickle, and a pickle is a program. torch's weights-only reader runs none of it; a file
that cannot be read that way is refused, whoever it comes from. Tensors are mapped, not loaded.

    full_sft_512.pth           {name: tensor}
    full_sft_512_resume.pth    {"model": {name: tensor}, "optimizer": ..., "step": ...}
    from several devices       module.NAME, _orig_mod.NAME, or one in the other

Rotary tables and causal masks, which early versions saved along, follow from the shape: not weights.
"""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from danlu.base.errors import UserError

WRAPPERS = ("module.", "_orig_mod.")
TABLES = ("freqs_cos", "freqs_sin", "pos_cis", "attention.mask")
WANTED = "a .pth file written by MiniMind's trainers"


def tensors(path: Path) -> dict[str, Tensor]:
    """Return the weights in a file, whatever they were wrapped in, under MiniMind's names."""
    data = _load(path)
    if isinstance(data, dict) and isinstance(data.get("model"), dict):
        data = data["model"]
    if not isinstance(data, dict) or not data:
        raise UserError(f"{path}: holds a {type(data).__name__}, not tensors by name", WANTED)
    found = {}
    for key, tensor in data.items():
        if not isinstance(tensor, Tensor):
            raise UserError(f"{path}: {key}: is a {type(tensor).__name__}, not a tensor", WANTED)
        name = bare(str(key))
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


def _load(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"{path}: there is no such file", WANTED)
    whole = zipfile.is_zipfile(path)
    with path.open("rb") as file:
        if file.read(2) == b"PK" and not whole:
            raise UserError(f"{path}: breaks off before its end", "copy or download it again")
    try:
        # Files from before torch 1.6 are no zip archives and cannot be mapped.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=whole)
    except pickle.UnpicklingError as error:
        # torch's own words are not passed on: they propose to run the code.
        if not whole and "GLOBAL" not in str(error):
            raise UserError(f"{path}: cannot be read: torch.save did not write it", WANTED) from None
        raise UserError(
            f"{path}: holds more than tensors, and reading it would run the code inside",
            "where it was made: torch.save(model.state_dict(), FILE), then convert that file",
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError) as error:
        reason = str(error).strip().partition("\n")[0] or "it is empty"
        raise UserError(f"{path}: cannot be read: {reason}", f"{WANTED}, whole") from None
