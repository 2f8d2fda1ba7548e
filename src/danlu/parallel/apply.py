"""Everything that is done to a model for the machines it runs on, in the one order.

    recompute -> compile -> data

The model knows no ranks; it is changed from outside, here. Compilation must see what will really
run, recomputation included; the data wrapper gathers weights around the compiled block, so it comes
last.
"""

from __future__ import annotations

import torch
from torch import nn

from danlu.device.api import Device
from danlu.model.build import compile_blocks
from danlu.parallel import data
from danlu.parallel.data import unwrap
from danlu.parallel.mesh import Parallel
from danlu.parallel.recompute import recompute_blocks

__all__ = ["parallelize", "unwrap"]


def parallelize(
    model: nn.Module,
    cfg: Parallel,
    device: Device,
    dtype: torch.dtype,
    *,
    recompute: bool = False,
    compile: bool = False,
) -> nn.Module:
    """Return the model ready to train on all ranks; `unwrap` gives the bare one back."""
    if recompute:
        recompute_blocks(data.blocks(model))
    if compile:
        compile_blocks(model)
    return data.wrap(model, cfg, device, dtype)
