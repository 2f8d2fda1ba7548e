"""Matrix products of many experts at once: rows sorted by expert, each run with its own weights.

    rows      a a a b c c        counts_E  3 1 2
    weights   A     B C          out = [a Aᵀ, b Bᵀ, c Cᵀ]

torch does it in one call where it has `grouped_mm` (2.10) or `_grouped_mm` (2.9), the shapes are
aligned to 16 bytes and the call works on this device; elsewhere a loop gives the same numbers. Rows
after the last run belong to nobody: what stands there is undefined, going in and coming out.

Both products are custom operations, because torch's own cannot be traced in every number format and a
loop over runs cannot be traced at all.

`ROUND` is what a run's length should be a multiple of. On a processor every new shape costs the
matrix library a third of a millisecond, more than the product of a small run; rounded lengths repeat.

Letters: N rows, C and F widths in and out, E experts.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

ROUND = {"cpu": 32}
"""By device; elsewhere lengths stay as they are."""

_torch: Any = getattr(F, "grouped_mm", None) or getattr(torch, "_grouped_mm", None)
_verdicts: dict[tuple[str, torch.dtype], bool] = {}


def grouped_matmul(x_NC: Tensor, weight_EFC: Tensor, counts_E: Tensor) -> Tensor:
    """Return each row of `x_NC` times its expert's weights; `counts_E` rows belong to each expert."""
    return times(x_NC.contiguous(), weight_EFC.mT, counts_E.cumsum(0).to(torch.int32))


@torch.library.custom_op("danlu::grouped_times", mutates_args=())
def times(x_NC: Tensor, weight_ECF: Tensor, ends_E: Tensor) -> Tensor:
    """Return the rows of each run times its expert's matrix; `ends_E` are where the runs end."""
    if _by_torch(x_NC, weight_ECF.shape[2]):
        return _torch(x_NC, weight_ECF, offs=ends_E)
    return times_loop(x_NC, weight_ECF, ends_E)


@times.register_fake
def _(x_NC: Tensor, weight_ECF: Tensor, ends_E: Tensor) -> Tensor:
    return x_NC.new_empty(x_NC.shape[0], weight_ECF.shape[2])


@torch.library.custom_op("danlu::grouped_outer", mutates_args=())
def outer(x_NC: Tensor, grad_NF: Tensor, ends_E: Tensor) -> Tensor:
    """Return each run's rows transposed times its gradient [E, C, F]: the gradient of its matrix."""
    if _by_torch(x_NC, grad_NF.shape[1]):
        return _torch(x_NC.mT, grad_NF, offs=ends_E)
    return outer_loop(x_NC, grad_NF, ends_E)


@outer.register_fake
def _(x_NC: Tensor, grad_NF: Tensor, ends_E: Tensor) -> Tensor:
    return x_NC.new_empty(ends_E.shape[0], x_NC.shape[1], grad_NF.shape[1])


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad_NF: Tensor) -> tuple[Tensor | None, ...]:
    x_NC, weight_ECF, ends_E = ctx.saved_tensors
    grad_NF = grad_NF.contiguous()  # torch's call wants it so
    # The stack is held transposed [E, F, C]; forming its gradient that way round saves a copy.
    return times(grad_NF, weight_ECF.mT, ends_E), outer(grad_NF, x_NC, ends_E).mT, None


times.register_autograd(_backward, setup_context=_keep)


def times_loop(x_NC: Tensor, weight_ECF: Tensor, ends_E: Tensor) -> Tensor:
    """Return what `times` does, one run after another."""
    out_NF = x_NC.new_zeros(len(x_NC), weight_ECF.shape[2])
    start = 0
    for expert, end in enumerate(ends_E.tolist()):
        out_NF[start:end] = x_NC[start:end] @ weight_ECF[expert]
        start = end
    return out_NF


def outer_loop(x_NC: Tensor, grad_NF: Tensor, ends_E: Tensor) -> Tensor:
    """Return what `outer` does, one run after another."""
    out_ECF = x_NC.new_zeros(len(ends_E), x_NC.shape[1], grad_NF.shape[1])
    start = 0
    for expert, end in enumerate(ends_E.tolist()):
        out_ECF[expert] = x_NC[start:end].mT @ grad_NF[start:end]
        start = end
    return out_ECF


def _by_torch(x_NC: Tensor, F_: int) -> bool:
    aligned = all(width * x_NC.element_size() % 16 == 0 for width in (x_NC.shape[1], F_))
    return aligned and _works(x_NC.device.type, x_NC.dtype)


def _works(device: str, dtype: torch.dtype) -> bool:
    """Return whether torch's call works here, in the three forms needed: tried once, on something small."""
    if (device, dtype) not in _verdicts:
        ends_E = torch.tensor([16, 16, 32], dtype=torch.int32, device=device)  # one run is empty
        x_NC, grad_NF = (torch.ones(32, width, device=device, dtype=dtype) for width in (16, 32))
        weight_EFC = torch.ones(3, 32, 16, device=device, dtype=dtype)
        try:
            forward = torch.equal(_torch(x_NC, weight_EFC.mT, offs=ends_E), x_NC.new_full((32, 32), 16))
            backward = torch.equal(_torch(grad_NF, weight_EFC, offs=ends_E), x_NC.new_full((32, 16), 32))
            gradient = torch.equal(_torch(grad_NF.mT, x_NC, offs=ends_E), outer_loop(grad_NF, x_NC, ends_E))
            _verdicts[device, dtype] = forward and backward and gradient
        except (RuntimeError, NotImplementedError, TypeError):
            _verdicts[device, dtype] = False
    return _verdicts[device, dtype]
