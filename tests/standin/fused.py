"""The vendor's fused operators in plain torch: what `npu::` names compute, as its documentation says.

They are written after op-plugin's own descriptions, from other words than the engine's plain operations,
which are thus tested against them. An argument that is not known here is an error, never a guess.

Letters: B rows, N heads, S queries, T keys (or tokens in all), D head width, C and F widths, E experts.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from standin import fused_attention

_library: list[torch.library.Library] = []


def register() -> None:
    """Put them over the ones that need CANN."""
    library = torch.library.Library("npu", "IMPL")
    for name, function in OPERATORS.items():
        library.impl(name, below_autocast(function), "PrivateUse1", allow_override=True)
    _library.append(library)


def below_autocast(function: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel computes in the formats it names: nothing in it is cast because of who called it."""

    @functools.wraps(function)
    def kernel(*arguments: Any, **more: Any) -> Any:
        with torch.autocast("npu", enabled=False):
            return function(*arguments, **more)

    return kernel


def rms_norm(x: Tensor, gamma: Tensor, epsilon: float = 1e-6) -> tuple[Tensor, Tensor]:
    """npu_rms_norm: the result, and 1 / root mean square in float32."""
    rstd = (x.float().pow(2).mean(-1, keepdim=True) + epsilon).rsqrt()
    return (x.float() * rstd * gamma.float()).to(x.dtype), rstd


def rms_norm_backward(dy: Tensor, x: Tensor, gamma: Tensor, rstd: Tensor) -> tuple[Tensor, Tensor]:
    """Its derivative: with n = x rstd and g = dy gamma, dx = rstd (g - n mean(g n))."""
    normal, weighted = x.float() * rstd, dy.float() * gamma.float()
    dx = rstd * (weighted - normal * (weighted * normal).mean(-1, keepdim=True))
    dgamma = (dy.float() * normal).reshape(-1, x.shape[-1]).sum(0)
    return dx.to(x.dtype), dgamma


def swiglu(x: Tensor, dim: int = -1) -> Tensor:
    """npu_swiglu: the first half through silu, times the second."""
    gate, up = x.float().chunk(2, dim)
    return (gate / (1 + (-gate).exp()) * up).to(x.dtype)


def swiglu_backward(dy: Tensor, x: Tensor, dim: int = -1) -> Tensor:
    gate, up = x.float().chunk(2, dim)
    sigmoid = 1 / (1 + (-gate).exp())
    slope = sigmoid * (1 + gate * (1 - sigmoid))
    return torch.cat((dy.float() * up * slope, dy.float() * gate * sigmoid), dim).to(x.dtype)


def turned(x: Tensor, mode: str) -> Tensor:
    if mode == "half":
        first, second = x.chunk(2, -1)
        return torch.cat((-second, first), -1)
    assert mode == "interleave", mode
    return torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)


def rotary_mul(
    x: Tensor, cos: Tensor, sin: Tensor, mode: str = "half", rotate: Tensor | None = None
) -> Tensor:
    """npu_rotary_mul: x cos + turned(x) sin."""
    assert rotate is None
    return (x.float() * cos.float() + turned(x.float(), mode) * sin.float()).to(x.dtype)


def rotary_mul_backward(
    dy: Tensor, x: Tensor, cos: Tensor, sin: Tensor, mode: str = "half", *rest: Any
) -> Any:
    """Turning is linear in x, and its transpose turns the other way round."""
    assert mode == "half", mode
    back = dy.float() * sin.float()
    first, second = back.chunk(2, -1)
    dx = dy.float() * cos.float() + torch.cat((second, -first), -1)
    each = [(dy.float() * part).sum_to_size(cos.shape) for part in (x.float(), turned(x.float(), mode))]
    return dx.to(x.dtype), each[0].to(cos.dtype), each[1].to(sin.dtype)


def grouped_matmul(
    x: list[Tensor],
    weight: list[Tensor],
    *,
    group_list: Tensor | None = None,
    split_item: int = 0,
    group_type: int = -1,
    group_list_type: int = 0,
    **other: Any,
) -> list[Tensor]:
    """npu_grouped_matmul: rows by experts' weights [E, C, F]; with group_type 2, columns by rows."""
    assert len(x) == len(weight) == 1 and split_item == 3 and group_list is not None
    assert all(value in (None, []) for value in other.values()), other
    ends = (group_list.cumsum(0) if group_list_type == 1 else group_list).tolist()
    starts = [0, *ends[:-1]]
    if group_type == 0:
        out = x[0].new_zeros(x[0].shape[0], weight[0].shape[2])
        for expert, (start, end) in enumerate(zip(starts, ends)):
            out[start:end] = x[0][start:end] @ weight[0][expert]
        return [out]
    assert group_type == 2, group_type
    return [torch.stack([x[0][:, a:b] @ weight[0][a:b] for a, b in zip(starts, ends)])]


OPERATORS: dict[str, Callable[..., Any]] = {
    "npu_rms_norm": rms_norm,
    "npu_rms_norm_backward": rms_norm_backward,
    "npu_swiglu": swiglu,
    "npu_swiglu_backward": swiglu_backward,
    "npu_rotary_mul": rotary_mul,
    "npu_rotary_mul_backward": rotary_mul_backward,
    "npu_grouped_matmul": grouped_matmul,
    "npu_fusion_attention": fused_attention.forward,
    "npu_fusion_attention_grad": fused_attention.backward,
    "npu_fusion_attention_v3": fused_attention.forward_v3,
    "npu_fusion_attention_grad_v3": fused_attention.backward_v3,
}
