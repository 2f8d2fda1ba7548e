"""Causal attention inside the samples of a packed row, on the processor, without a mask.

    tokens   a a a a b b c c c        bounds 0 4 6 9
    work     a×a, b×b, c×c            never a×b: the cost is that of the samples alone

One custom operation goes over the samples, so that torch.compile sees one node and every sample's
result depends on no other sample, to the bit. Samples go to torch's flash kernel one by one or, in
bfloat16 where the processor multiplies it natively, together into whole matrix products
(`varlen_products`): for the short samples of packed training those are three to four times faster,
because the kernel cuts its own into tiles too small for the matrix units. Scores are float32 in either,
and the backward pass forms them again.

Letters: N tokens of all samples, T tokens of one, H query heads, K key heads, D head width.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from danlu.device import varlen_products


@functools.cache
def has_products() -> bool:
    """Return whether bfloat16 products are native to this processor and its matrix library."""
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):
        return False


@torch.library.custom_op("danlu::packed_attention", mutates_args=())
def packed_attention(
    q_NHD: Tensor, k_NKD: Tensor, v_NKD: Tensor, bounds: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Return (out_NHD, logsumexp_NH); tokens after the last bound attend to nothing and get zeros."""
    lse_NH = q_NHD.new_zeros(q_NHD.shape[:2], dtype=torch.float32)
    ends = tuple(bounds.tolist())
    with torch.autocast("cpu", enabled=False):
        if _by_products(q_NHD):
            return varlen_products.forward(q_NHD, k_NKD, v_NKD, ends, scale), lse_NH
        out_NHD = torch.zeros_like(q_NHD, memory_format=torch.contiguous_format)
        for own in _samples(ends):
            _flash(q_NHD[own], k_NKD[own], v_NKD[own], scale, out_NHD[own], lse_NH[own])
    return out_NHD, lse_NH


@packed_attention.register_fake
def _(q_NHD: Tensor, k_NKD: Tensor, v_NKD: Tensor, bounds: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    return (
        torch.empty_like(q_NHD, memory_format=torch.contiguous_format),
        q_NHD.new_empty(q_NHD.shape[:2], dtype=torch.float32),
    )


@torch.library.custom_op("danlu::packed_attention_backward", mutates_args=())
def packed_attention_backward(
    grad_NHD: Tensor,
    q_NHD: Tensor,
    k_NKD: Tensor,
    v_NKD: Tensor,
    out_NHD: Tensor,
    lse_NH: Tensor,
    bounds: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of queries, keys and values."""
    ends = tuple(bounds.tolist())
    with torch.autocast("cpu", enabled=False):
        if _by_products(q_NHD):
            return varlen_products.backward(grad_NHD, q_NHD, k_NKD, v_NKD, ends, scale)
        q, k, v = (torch.zeros_like(x, memory_format=torch.contiguous_format) for x in (q_NHD, k_NKD, v_NKD))
        for own in _samples(ends):
            kept = [x[own] for x in (grad_NHD, q_NHD, k_NKD, v_NKD, out_NHD, lse_NH)]
            _flash_backward(kept, scale, (q[own], k[own], v[own]))
    return q, k, v


@packed_attention_backward.register_fake
def _(
    grad_NHD: Tensor, q_NHD: Tensor, k_NKD: Tensor, v_NKD: Tensor, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q_NHD, k_NKD, v_NKD))
    return q, k, v


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q_NHD, k_NKD, v_NKD, bounds, ctx.scale = inputs
    ctx.save_for_backward(q_NHD, k_NKD, v_NKD, *output, bounds)


def _backward(ctx: Any, grad_NHD: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    return *packed_attention_backward(grad_NHD, *ctx.saved_tensors, ctx.scale), None, None


packed_attention.register_autograd(_backward, setup_context=_keep)


def _samples(ends: tuple[int, ...]) -> Iterator[slice]:
    return (slice(start, end) for start, end in zip(ends, ends[1:]) if end > start)


def _by_products(q_NHD: Tensor) -> bool:
    return q_NHD.dtype is torch.bfloat16 and has_products()


# torch's kernel, one sample at a time. It wants [1, heads, T, D].


@functools.cache
def shares_heads() -> bool:
    """Return whether torch's kernel lets query heads share a key head, forward and backward."""
    q_1HTD, k_1KTD = torch.ones(1, 2, 4, 8), torch.arange(32.0).view(1, 1, 4, 8)
    try:
        out_1HTD, lse_1HT = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q_1HTD, k_1KTD, k_1KTD, 0.0, True
        )
        grads = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            q_1HTD, q_1HTD, k_1KTD, k_1KTD, out_1HTD, lse_1HT, 0.0, True
        )
    except RuntimeError:
        return False
    # The gradient of a value is the sum of the weights given to it, by both query heads.
    return torch.equal(out_1HTD[:, 0], out_1HTD[:, 1]) and round(float(grads[2].sum())) == 2 * 4 * 8


def _flash(
    q_THD: Tensor, k_TKD: Tensor, v_TKD: Tensor, scale: float, out_THD: Tensor, lse_TH: Tensor
) -> None:
    q_1HTD, k_1KTD, v_1KTD = _heads_first(q_THD, k_TKD, v_TKD)
    out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        q_1HTD, k_1KTD, v_1KTD, 0.0, True, scale=scale
    )
    out_THD.copy_(out[0].transpose(0, 1))
    lse_TH.copy_(lse[0].transpose(0, 1))


def _flash_backward(kept: list[Tensor], scale: float, into: tuple[Tensor, ...]) -> None:
    grad_THD, q_THD, k_TKD, v_TKD, out_THD, lse_TH = kept
    grad_1HTD, out_1HTD = (x.transpose(0, 1)[None] for x in (grad_THD, out_THD))
    grads = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
        grad_1HTD,
        *_heads_first(q_THD, k_TKD, v_TKD),
        out_1HTD,
        lse_TH.t().contiguous()[None],
        0.0,
        True,
        scale=scale,
    )
    for grad_1HTD, place_TKD in zip(grads, into):
        grad_TKD = grad_1HTD[0].transpose(0, 1)
        if grad_TKD.shape != place_TKD.shape:
            grad_TKD = grad_TKD.unflatten(1, (place_TKD.shape[1], -1)).sum(2)
        place_TKD.copy_(grad_TKD)


def _heads_first(q_THD: Tensor, *keys: Tensor) -> list[Tensor]:
    """Return [1, heads, T, D] of each; keys once for every query head where the kernel wants that."""
    groups = 1 if shares_heads() else q_THD.shape[1] // keys[0].shape[1]
    keys = tuple(x if groups == 1 else x.repeat_interleave(groups, dim=1) for x in keys)
    return [x.transpose(0, 1)[None] for x in (q_THD, *keys)]
