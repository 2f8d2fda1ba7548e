"""Copies on the host of what this rank is to write, taken before training goes on.

torch plans on the live tensors of all ranks which rank writes which piece (a tensor that every rank
holds is written by one of them, so that the work is even); only those pieces are copied. Once this
returns, the next step may change every tensor. The plan is replayed when the background writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.metadata import MetadataIndex
from torch.distributed.checkpoint.planner import SavePlan, WriteItem

from danlu.checkpoint.ranks import Ranks


def flatten(tensors: Mapping[str, Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return one dictionary of `kind/name`.

    >>> list(flatten({"model": {"head.weight": torch.zeros(1)}}))
    ['model/head.weight']
    """
    return {f"{kind}/{name}": tensor for kind, group in tensors.items() for name, tensor in group.items()}


class Staged(DefaultSavePlanner):
    """A save plan that holds its own copies."""

    def __init__(self, tensors: dict[str, torch.Tensor], ranks: Ranks) -> None:
        super().__init__(flatten_state_dict=False, flatten_sharded_tensors=False)
        super().set_up_planner(tensors, is_coordinator=ranks.rank == 0)
        plans = ranks.together(super().create_local_plan)
        plans, _ = super().create_global_plan(plans)
        self.mine = plans[ranks.rank]
        self.sizes = [sum(item.tensor_storage_size() or 0 for item in plan.items) for plan in plans]
        self.copies: dict[MetadataIndex, torch.Tensor] = {}

    def stage(self) -> None:
        """Copy this rank's pieces to the host."""
        away = False
        for item in self.mine.items:
            tensor = super().resolve_data(item)
            assert isinstance(tensor, torch.Tensor), item.index.fqn
            # From an accelerator this goes into pinned memory, at full speed and without waiting.
            self.copies[item.index] = tensor.detach().to("cpu", copy=True, non_blocking=True)
            away = away or tensor.device.type != "cpu"
        if away:
            torch.accelerator.synchronize()
        self.state_dict = {}

    def set_up_planner(self, state_dict: Any, storage_meta: Any = None, is_coordinator: bool = False) -> None:
        self.is_coordinator = is_coordinator

    def create_local_plan(self) -> SavePlan:
        return self.mine

    def resolve_data(self, write_item: WriteItem) -> torch.Tensor:
        return self.copies[write_item.index]
