"""Matrix products of many experts at once on the 910B class: npu_grouped_matmul, with its gradients.

The vendor's operator computes all runs in one call and has no derivative of its own, so both are here:

    out = x Wᵀ by runs      gradient of x = grad W by runs      gradient of W = gradᵀ x, one product a run

Letters: N rows, C and F widths in and out, E experts.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

ROWS, INNER = 0, 2  # group_type: runs are of the rows, or of what is summed over
COUNTS = 1  # group_list_type: lengths of the runs, not where they end
ONE = 3  # split_item: one tensor in, one tensor out


def grouped_matmul(x_NC: Tensor, weight_EFC: Tensor, counts_E: Tensor) -> Any:
    """Return each row times its expert's weights transposed; rows are sorted by expert."""
    if x_NC.dtype not in (torch.float16, torch.bfloat16) or weight_EFC.dtype is not x_NC.dtype:
        return NotImplemented  # the operator multiplies half precision alone
    return _Grouped.apply(x_NC, weight_EFC, counts_E.to(torch.int64))


class _Grouped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_NC: Tensor, weight_EFC: Tensor, counts_E: Tensor) -> Tensor:
        ctx.save_for_backward(x_NC, weight_EFC, counts_E)
        return _products(x_NC, weight_EFC.mT, counts_E, ROWS)

    @staticmethod
    def backward(ctx: Any, grad_NF: Tensor) -> tuple[Tensor, Tensor, None]:
        x_NC, weight_EFC, counts_E = ctx.saved_tensors
        grad_NF = grad_NF.contiguous()
        grad_x_NC = _products(grad_NF, weight_EFC, counts_E, ROWS)
        grad_ECF = _products(x_NC.mT, grad_NF, counts_E, INNER)
        return grad_x_NC, grad_ECF.mT, None


def _products(left: Tensor, right: Tensor, counts_E: Tensor, kind: int) -> Tensor:
    operator = importlib.import_module("torch_npu").npu_grouped_matmul
    return operator(
        [left], [right], group_list=counts_E, split_item=ONE, group_type=kind, group_list_type=COUNTS
    )[0]
