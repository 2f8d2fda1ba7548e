"""Data parallelism: every rank takes its own rows, and the gradients are added up.

    ddp    each rank holds all weights; gradients are summed once a step
    fsdp   each rank holds a share of every block's weights, gradients and optimiser state; a block's
           weights are gathered just before it runs and dropped after it
    hsdp   fsdp inside groups of `shard` ranks, ddp between the groups

Both wrappers *average* gradients over ranks (over gloo and on some accelerators there is no averaging
collective, so fsdp sums, then divides): whoever wants the sum multiplies the loss by the number of
ranks.

While accumulating, ddp waits for the last micro-batch before it talks. fsdp does not: it would have to
keep every gradient whole on every rank, the very memory it is chosen to save. It sums each
micro-batch's gradients into the shares at once, behind the computation, and only the sum between
groups waits.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

from danlu.device.api import Device
from danlu.parallel.mesh import Parallel, world

# A float32 weight, its gradient and two optimiser states.
BYTES_A_WEIGHT = 16


def wrap(model: nn.Module, cfg: Parallel, device: Device, dtype: torch.dtype) -> nn.Module:
    """Return the model, wrapped so that its gradients are averaged over all ranks."""
    ranks = world().ranks
    cfg.check(ranks)
    if ranks == 1:
        return model
    if choose(cfg, model, device) == "fsdp":
        return shard(model, cfg.shard or ranks, device, dtype)
    options: dict[str, Any] = {"device_ids": None if device.kind == "cpu" else [device.torch]}
    # Buffers change alike on all ranks and need no sending; the key's name changed in torch 2.13.
    newer = "forward_sync_buffers" in inspect.signature(DistributedDataParallel.__init__).parameters
    options["forward_sync_buffers" if newer else "broadcast_buffers"] = False
    return DistributedDataParallel(model, gradient_as_bucket_view=True, **options)


def choose(cfg: Parallel, model: nn.Module, device: Device) -> str:
    """Return ddp or fsdp: what was asked for, else ddp where a copy leaves half the memory to activations."""
    if cfg.data != "auto":
        return cfg.data
    copy = BYTES_A_WEIGHT * sum(parameter.numel() for parameter in model.parameters())
    return "fsdp" if cfg.shard > 1 or copy > device.memory()["total"] / 2 else "ddp"


def shard(model: nn.Module, degree: int, device: Device, dtype: torch.dtype) -> nn.Module:
    """Share every block's weights among `degree` ranks, in place; the rest of the model is one more block."""
    ranks = world().ranks
    sizes: tuple[int, ...] = (ranks // degree, degree)
    names: tuple[str, ...] = ("replicate", "shard")
    if degree == ranks:
        sizes, names = sizes[1:], names[1:]
    options: dict[str, Any] = {
        "mesh": init_device_mesh(device.kind, sizes, mesh_dim_names=names),
        # Weights stay float32 where they rest. Inputs are not cast: the tables of angles must stay exact.
        "mp_policy": MixedPrecisionPolicy(
            param_dtype=None if dtype is torch.float32 else dtype,
            reduce_dtype=torch.float32,
            cast_forward_inputs=False,
        ),
    }
    for block in blocks(model):
        fully_shard(block, **options)
    # Embedding and head stay gathered between forward and backward: the loss reads the head's weight.
    fully_shard(model, reshard_after_forward=False, **options)
    for module in model.modules():
        if isinstance(module, FSDPModule) and hasattr(module, "set_force_sum_reduction_for_comms"):
            module.set_force_sum_reduction_for_comms(True)
    return model


def blocks(model: nn.Module) -> list[nn.Module]:
    """Return the repeated blocks of a model: the items of every list of modules called `layers`."""
    lists = [module for name, module in model.named_modules() if name.rpartition(".")[2] == "layers"]
    return [block for found in lists if isinstance(found, nn.ModuleList) for block in found]


def unwrap(model: nn.Module) -> Any:
    """Return the model inside its wrapper, if it has one."""
    return model.module if isinstance(model, DistributedDataParallel) else model


@contextlib.contextmanager
def accumulating(model: nn.Module, more: bool) -> Iterator[None]:
    """Run forward and backward in this: with `more` micro-batches to come, sums that can wait do."""
    if isinstance(model, DistributedDataParallel) and more:
        with model.no_sync():
            yield
        return
    if isinstance(model, FSDPModule):
        model.set_requires_all_reduce(not more)
    yield
