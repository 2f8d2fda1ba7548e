"""Whole weights: out of a live model, or out of a checkpoint without any model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from danlu.checkpoint.reader import Reader
from danlu.checkpoint.state import model_state


@torch.no_grad()
def full_state(model: nn.Module) -> dict[str, Tensor]:
    """Return every weight, whole and on the host, on rank 0; other ranks get an empty dictionary.

    All ranks must call it. One tensor is made whole at a time, so no rank needs room for the model
    beside its own shards. A tensor that is whole on the host already is not copied.
    """
    keep = not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0
    whole = {}
    for name, tensor in model_state(model).items():
        if isinstance(tensor, DTensor):
            tensor = tensor.full_tensor()
        if keep:
            whole[name] = tensor.detach().cpu()
    return whole


def read_full(folder: Path, prefix: str = "model") -> Iterator[tuple[str, Tensor]]:
    """Yield the name and the whole tensor of everything a checkpoint holds under `prefix`.

    Needs neither a model nor other ranks, however many ranks wrote it. Checksums are not read:
    `manifest.damage(folder)` does that.
    """
    return Reader(Path(folder)).tensors(prefix)
