"""Causal attention inside the samples of a packed row, on the processor, without a mask.

    tokens   a a a a b b c c c        bounds 0 4 6 9
    work     a×a, b×b, c×c            never a×b: the cost is that of the samples alone

One custom operation loops over the samples, so that torch.compile sees one node and every sample's
result depends on no other sample, to the bit. Each sample goes to torch's flash kernel or, in
bfloat16 where the processor multiplies it natively, to whole matrix products: for the short samples
of packed training those are about three times faster, because the kernel cuts its products into tiles
too small for the matrix units. Scores are float32 in either; the backward pass forms them again.

Lengths are rounded up to 32 for the products: every new shape costs the matrix library milliseconds.

Letters: N tokens of all samples, T tokens of one, n queries of one block, S keys they may see,
H query heads, K key heads, G = H / K queries sharing a key head, D head width.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

BLOCK = 128
"""Queries whose scores are formed at once: keys after the block cost nothing."""
ROUND = 32
LONG = 4096
"""From this many tokens on, torch's kernel is the faster one."""


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
    out_NHD = torch.zeros_like(q_NHD, memory_format=torch.contiguous_format)
    lse_NH = q_NHD.new_zeros(q_NHD.shape[:2], dtype=torch.float32)
    with torch.autocast("cpu", enabled=False):
        for start, end in _samples(bounds):
            forward = _products if _by_products(q_NHD, end - start) else _flash
            forward(
                q_NHD[start:end], k_NKD[start:end], v_NKD[start:end], scale, out_NHD[start:end], lse_NH[start:end]
            )
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
    grads = tuple(torch.zeros_like(x, memory_format=torch.contiguous_format) for x in (q_NHD, k_NKD, v_NKD))
    with torch.autocast("cpu", enabled=False):
        for start, end in _samples(bounds):
            backward = _products_backward if _by_products(q_NHD, end - start) else _flash_backward
            inputs = (x[start:end] for x in (grad_NHD, q_NHD, k_NKD, v_NKD, out_NHD, lse_NH))
            backward(*inputs, scale, *(grad[start:end] for grad in grads))
    return grads[0], grads[1], grads[2]


@packed_attention_backward.register_fake
def _(grad_NHD: Tensor, q_NHD: Tensor, k_NKD: Tensor, v_NKD: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q_NHD, k_NKD, v_NKD))
    return q, k, v


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q_NHD, k_NKD, v_NKD, bounds, ctx.scale = inputs
    ctx.save_for_backward(q_NHD, k_NKD, v_NKD, *output, bounds)


def _backward(ctx: Any, grad_NHD: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    return *packed_attention_backward(grad_NHD, *ctx.saved_tensors, ctx.scale), None, None


packed_attention.register_autograd(_backward, setup_context=_keep)


def _samples(bounds: Tensor) -> Iterator[tuple[int, int]]:
    ends = bounds.tolist()
    return ((start, end) for start, end in zip(ends, ends[1:]) if end > start)


def _by_products(q_NHD: Tensor, length: int) -> bool:
    return q_NHD.dtype is torch.bfloat16 and length < LONG and has_products()


# torch's kernel, one sample at a time. It wants [1, heads, T, D] and shares key heads by itself.


def _flash(q_THD: Tensor, k_TKD: Tensor, v_TKD: Tensor, scale: float, out_THD: Tensor, lse_TH: Tensor) -> None:
    out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        _heads_first(q_THD), _heads_first(k_TKD), _heads_first(v_TKD), 0.0, True, scale=scale
    )
    out_THD.copy_(out[0].transpose(0, 1))
    lse_TH.copy_(lse[0].transpose(0, 1))


def _flash_backward(
    grad_THD: Tensor,
    q_THD: Tensor,
    k_TKD: Tensor,
    v_TKD: Tensor,
    out_THD: Tensor,
    lse_TH: Tensor,
    scale: float,
    *into: Tensor,
) -> None:
    inputs = (_heads_first(x) for x in (grad_THD, q_THD, k_TKD, v_TKD, out_THD))
    lse_1HT = lse_TH.t().contiguous()[None]
    grads = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
        *inputs, lse_1HT, 0.0, True, scale=scale
    )
    for grad, place in zip(grads, into):
        place.copy_(grad[0].transpose(0, 1))


def _heads_first(x_THD: Tensor) -> Tensor:
    return x_THD.transpose(0, 1)[None]


# Whole products, one block of queries at a time. The G queries that share a key head lie together,
# so that a block is one product per key head: [G n, D] x [D, S].


def _products(q_THD: Tensor, k_TKD: Tensor, v_TKD: Tensor, scale: float, out_THD: Tensor, lse_TH: Tensor) -> None:
    T, K = k_TKD.shape[:2]
    k_KSD, v_KSD = _rounded(k_TKD), _rounded(v_TKD)
    for first, last, n in _blocks(T):
        q_KnD = _grouped(q_THD[first:last], K, n, scale)
        weights_KnS = _weights(q_KnD, k_KSD[:, : first + n], n)
        _ungroup(torch.bmm(weights_KnS, v_KSD[:, : first + n]), n, 1.0, out_THD[first:last])


def _products_backward(
    grad_THD: Tensor,
    q_THD: Tensor,
    k_TKD: Tensor,
    v_TKD: Tensor,
    out_THD: Tensor,
    lse_TH: Tensor,
    scale: float,
    into_q_THD: Tensor,
    into_k_TKD: Tensor,
    into_v_TKD: Tensor,
) -> None:
    T, K = k_TKD.shape[:2]
    k_KSD, v_KSD = _rounded(k_TKD), _rounded(v_TKD)
    grad_k_KSD, grad_v_KSD = (torch.zeros_like(x, dtype=torch.float32) for x in (k_KSD, v_KSD))
    for first, last, n in _blocks(T):
        S = first + n
        q_KnD = _grouped(q_THD[first:last], K, n, scale)
        grad_KnD = _grouped(grad_THD[first:last], K, n, 1.0)
        weights_KnS = _weights(q_KnD, k_KSD[:, :S], n)
        grad_v_KSD[:, :S] += torch.bmm(weights_KnS.mT, grad_KnD)
        grad_KnS = torch.bmm(grad_KnD, v_KSD[:, :S].mT)
        grad_KnS = torch.ops.aten._softmax_backward_data(grad_KnS, weights_KnS, -1, grad_KnS.dtype)
        grad_k_KSD[:, :S] += torch.bmm(grad_KnS.mT, q_KnD)
        _ungroup(torch.bmm(grad_KnS, k_KSD[:, :S]), n, scale, into_q_THD[first:last])
    into_k_TKD.copy_(grad_k_KSD[:, :T].transpose(0, 1))
    into_v_TKD.copy_(grad_v_KSD[:, :T].transpose(0, 1))


def _weights(q_KnD: Tensor, k_KSD: Tensor, n: int) -> Tensor:
    """Return each query's weights over the keys, the last `n` of which are its own block's.

    A bfloat16 product rounds the scores to 8 bits. What it rounded away is a second product, which
    costs a third of a float32 one: scores = product + (queries keys - product).
    """
    high_KnS = torch.bmm(q_KnD, k_KSD.mT)
    low_KnS = torch.baddbmm(high_KnS, q_KnD, k_KSD.mT, beta=-1)
    scores_KnS = high_KnS.float().add_(low_KnS.float())
    scores_KnS.unflatten(1, (-1, n))[..., -n:].add_(_future(n))
    return torch.softmax(scores_KnS, -1).to(q_KnD.dtype)


@functools.cache
def _future(n: int) -> Tensor:
    """Return the part of the scores that hides later keys of the block."""
    return torch.full((n, n), -torch.inf).triu_(1)


def _blocks(length: int) -> Iterator[tuple[int, int, int]]:
    """Yield (first query, end of queries, rounded number of queries) of each block."""
    for first in range(0, length, BLOCK):
        last = min(first + BLOCK, length)
        yield first, last, -(-(last - first) // ROUND) * ROUND


def _rounded(x_TKD: Tensor) -> Tensor:
    """Return a copy, heads first, filled up with zeros to a rounded length."""
    T, K, D = x_TKD.shape
    x_KSD = x_TKD.new_zeros(K, -(-T // ROUND) * ROUND, D)
    x_KSD[:, :T] = x_TKD.transpose(0, 1)
    return x_KSD


def _grouped(x_THD: Tensor, K: int, n: int, scale: float) -> Tensor:
    """Return [K, G n, D]: the queries of each key head, times `scale`, zeros after the last."""
    T, H, D = x_THD.shape
    x_KGnD = x_THD.new_zeros(K, H // K, n, D)
    torch.mul(x_THD.unflatten(1, (K, -1)).permute(1, 2, 0, 3), scale, out=x_KGnD[:, :, :T])
    return x_KGnD.flatten(1, 2)


def _ungroup(x_KnD: Tensor, n: int, scale: float, into_THD: Tensor) -> None:
    """Write [K, G n, D], times `scale`, back into [T, H, D]."""
    T, K = len(into_THD), len(x_KnD)
    x_TKGD = x_KnD.unflatten(1, (-1, n))[:, :, :T].permute(2, 0, 1, 3)
    torch.mul(x_TKGD, scale, out=into_THD.unflatten(1, (K, -1)))
