"""A sharded tensor and its pieces: what this rank holds, the whole, and lengths over all ranks.

    whole      0 1 2 3 4 5 6        over 2 ranks, along dim 0:
    rank 0     0 1 2 3              shares are cut as `torch.chunk` cuts: the last may be smaller
    rank 1             4 5 6

Plain tensors pass through everything here unchanged, so callers need not ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, Shard


def local(tensor: Tensor) -> Tensor:
    """Return this rank's share: the same memory, without the wrapping."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor, shaped_as: Tensor) -> Tensor:
    """Gather all shares of a tensor that is cut as `shaped_as` is; every rank must ask."""
    if not isinstance(shaped_as, DTensor):
        return tensor
    mesh, placements = shaped_as.device_mesh, shaped_as.placements
    shares = DTensor.from_local(
        tensor, mesh, placements, run_check=False, shape=shaped_as.shape, stride=shaped_as.stride()
    )
    return shares.full_tensor()


def share(tensor: Tensor, shaped_as: Tensor) -> Tensor:
    """Return this rank's share of a whole tensor, cut as `shaped_as` is."""
    if not isinstance(shaped_as, DTensor):
        return tensor
    axis, dim = _cut(shaped_as)
    pieces = tensor.chunk(shaped_as.device_mesh.size(axis), dim)
    number = shaped_as.device_mesh.get_local_rank(axis)
    return pieces[number] if number < len(pieces) else tensor.narrow(dim, 0, 0)


def _cut(tensor: DTensor) -> tuple[int, int]:
    """Return the mesh axis and the tensor's dim along which it is cut."""
    placements = enumerate(tensor.placements)
    cuts = [(axis, placement.dim) for axis, placement in placements if isinstance(placement, Shard)]
    assert len(cuts) == 1, f"one cut is understood, found {tensor.placements}"
    return cuts[0]


def length(tensors: Sequence[Tensor]) -> Tensor:
    """Return the Euclidean length of all tensors together, as one number in float32.

    A share counts once, on whichever rank it lies, and a replica once in all.
    """
    squares: dict[Any, Tensor] = {}
    for group in dict.fromkeys(map(_group, tensors)):  # in one order on all ranks
        members = [local(tensor) for tensor in tensors if _group(tensor) is group]
        squares[group] = members[0].new_zeros((), dtype=torch.float32)
        if filled := [member for member in members if member.numel()]:
            norms = torch._foreach_norm(filled, dtype=torch.float32)
            squares[group] = torch.stack(norms).square().sum()
        if group is not None:
            dist.all_reduce(squares[group], group=group)
    return torch.stack(list(squares.values())).sum().sqrt()


def _group(tensor: Tensor) -> Any:
    """Return the ranks among which a tensor is cut, None if it is not."""
    return tensor.device_mesh.get_group(_cut(tensor)[0]) if isinstance(tensor, DTensor) else None
