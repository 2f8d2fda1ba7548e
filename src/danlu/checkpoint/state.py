"""Models and optimisers as flat dictionaries of tensors by parameter name.

    model       model.layers.0.mlp.up_proj.weight
    optimizer   model.layers.0.mlp.up_proj.weight/exp_avg

The names are those of the bare model: whatever wrapped it (DDP, compile, recompute) leaves no trace,
so what one process saved, two may load, sharded or not. Sharded tensors stay sharded (DTensor).

Only tensors are kept here; learning rates and other settings of an optimiser come from the
configuration and the schedule.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.nn.parallel import DistributedDataParallel

from danlu.base.errors import UserError
from danlu.checkpoint import index


class Saved(NamedTuple):
    """What a checkpoint holds under one name."""

    shape: torch.Size
    dtype: torch.dtype


def saved(folder: Path, kind: str) -> dict[str, Saved]:
    """Return the names, shapes and dtypes a checkpoint holds of one kind, "model" or "optimizer"."""
    found = {}
    for full, tensor in index.read(folder).state_dict_metadata.items():
        assert isinstance(tensor, TensorStorageMetadata), full
        start, _, name = full.partition("/")
        if start == kind:
            found[name] = Saved(tensor.size, tensor.properties.dtype)
    return found


def bare(model: nn.Module) -> nn.Module:
    """Return the model inside a data-parallel wrapper."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def bare_name(name: str) -> str:
    """Return a parameter's name without the traces of compilation and recomputation.

    >>> bare_name("layers.0._orig_mod._checkpoint_wrapped_module.weight")
    'layers.0.weight'
    """
    return name.replace("_orig_mod.", "").replace("_checkpoint_wrapped_module.", "")


def model_state(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's parameters and persistent buffers; loading into them changes the model."""
    return {bare_name(name): tensor for name, tensor in bare(model).state_dict().items()}


def optimizer_state(model: nn.Module, optimizer: Any) -> dict[str, Tensor]:
    """Return an optimiser's tensors as `parameter/what`; loading into them changes the optimiser."""
    tensors = {}
    for name, parameter in _trained(model, optimizer).items():
        for what, value in optimizer.state.get(parameter, {}).items():
            if not isinstance(value, Tensor):
                raise TypeError(f"optimizer state {name}/{what} is a {type(value).__name__}, not a tensor")
            tensors[f"{name}/{what}"] = value
    return tensors


def _trained(model: nn.Module, optimizer: Any) -> dict[str, nn.Parameter]:
    """Return the parameters an optimiser moves, by their bare names."""
    moved = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    named = bare(model).named_parameters()
    return {bare_name(name): parameter for name, parameter in named if id(parameter) in moved}


def differences(folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], everyones: set[str]) -> None:
    """Refuse to load where names, shapes or dtypes differ from the checkpoint's, and name them.

    `everyones` holds the `kind/name` of all ranks, of which each may hold a part.
    """
    problems = []
    for kind, group in tensors.items():
        have = saved(folder, kind)
        wanted = {full.partition("/")[2] for full in everyones if full.partition("/")[0] == kind}
        problems += _names(f"{kind}: missing in the checkpoint", wanted - set(have))
        problems += _names(f"{kind}: unexpected in the checkpoint", set(have) - wanted)
        for name, tensor in group.items():
            there, here = have.get(name), Saved(tensor.shape, tensor.dtype)
            if there and there != here:
                problems.append(f"{kind}: {name} is {_show(there)} in the checkpoint, {_show(here)} here")
    if problems:
        more = f"; and {len(problems) - 6} more" if len(problems) > 6 else ""
        raise UserError(
            f"{folder}: does not fit: {'; '.join(problems[:6])}{more}",
            "resume with the model and optimizer settings the run was saved with (its config.yaml)",
        )


def _names(problem: str, names: set[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return [f"{problem}: {', '.join(sorted(names)[:5])}{more}"]


def _show(saved: Saved) -> str:
    return f"{str(saved.dtype).removeprefix('torch.')} {list(saved.shape)}"
