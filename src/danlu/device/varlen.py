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
LONG = 8192
"""Beyond so many tokens blocks are small, so that a block's scores still fit into memory."""
ROUND = 32


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
    forward = _products if _by_products(q_NHD) else _flash
    with torch.autocast("cpu", enabled=False):
        for own in _samples(bounds):
            forward(q_NHD[own], k_NKD[own], v_NKD[own], scale, out_NHD[own], lse_NH[own])
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
    into = tuple(torch.zeros_like(x, memory_format=torch.contiguous_format) for x in (q_NHD, k_NKD, v_NKD))
    kept = (grad_NHD, q_NHD, k_NKD, v_NKD, out_NHD, lse_NH)
    backward = _products_backward if _by_products(q_NHD) else _flash_backward
    with torch.autocast("cpu", enabled=False):
        for own in _samples(bounds):
            backward([x[own] for x in kept], scale, [x[own] for x in into])
    return into[0], into[1], into[2]


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


def _samples(bounds: Tensor) -> Iterator[slice]:
    ends = bounds.tolist()
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


def _flash_backward(kept: list[Tensor], scale: float, into: list[Tensor]) -> None:
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


# Whole products, one block of queries at a time. The G queries that share a key head lie together,
# so that a block is one product per key head: [G n, D] x [D, S].


def _products(
    q_THD: Tensor, k_TKD: Tensor, v_TKD: Tensor, scale: float, out_THD: Tensor, lse_TH: Tensor
) -> None:
    T, K = k_TKD.shape[:2]
    k_KSD, v_KSD = _rounded(k_TKD), _rounded(v_TKD)
    for first, last, n in _blocks(T):
        q_KnD = _grouped(q_THD[first:last], K, n)
        weights_KnS = _weights(q_KnD, k_KSD[:, : first + n], n, scale)
        _ungroup(torch.bmm(weights_KnS, v_KSD[:, : first + n]), n, out_THD[first:last])


def _products_backward(kept: list[Tensor], scale: float, into: list[Tensor]) -> None:
    grad_THD, q_THD, k_TKD, v_TKD, *_ = kept
    T, K = k_TKD.shape[:2]
    k_KSD, v_KSD = _rounded(k_TKD), _rounded(v_TKD)
    grad_k_KSD, grad_v_KSD = (torch.zeros_like(x, dtype=torch.float32) for x in (k_KSD, v_KSD))
    for first, last, n in _blocks(T):
        S = first + n
        q_KnD = _grouped(q_THD[first:last], K, n)
        grad_KnD = _grouped(grad_THD[first:last], K, n)
        weights_KnS = _weights(q_KnD, k_KSD[:, :S], n, scale)
        grad_v_KSD[:, :S] += torch.bmm(weights_KnS.mT, grad_KnD)
        grad_KnS = torch.bmm(grad_KnD, v_KSD[:, :S].mT)
        grad_KnS = torch.ops.aten._softmax_backward_data(grad_KnS, weights_KnS, -1, grad_KnS.dtype)
        grad_k_KSD[:, :S] += _times(scale, grad_KnS.mT, q_KnD)
        _ungroup(_times(scale, grad_KnS, k_KSD[:, :S]), n, into[0][first:last])
    into[1].copy_(grad_k_KSD[:, :T].transpose(0, 1))
    into[2].copy_(grad_v_KSD[:, :T].transpose(0, 1))


def _weights(q_KnD: Tensor, k_KSD: Tensor, n: int, scale: float) -> Tensor:
    """Return each query's weights over the keys, the last `n` of which are its own block's.

    A bfloat16 product rounds the scores to 8 bits. What it rounded away is a second product, which
    costs a third of a float32 one: scores = product + (queries keys - product).
    """
    high_KnS = _times(scale, q_KnD, k_KSD.mT)
    low_KnS = torch.baddbmm(high_KnS, q_KnD, k_KSD.mT, beta=-1, alpha=scale)
    scores_KnS = high_KnS.float().add_(low_KnS.float())
    scores_KnS.unflatten(1, (-1, n))[..., -n:].add_(_future(n))
    return torch.softmax(scores_KnS, -1).to(q_KnD.dtype)


def _times(scale: float, a_KnS: Tensor, b_KSD: Tensor) -> Tensor:
    """Return scale * a b, scaled before it is rounded."""
    return torch.baddbmm(a_KnS.new_empty(1, 1, 1), a_KnS, b_KSD, beta=0, alpha=scale)


@functools.cache
def _future(n: int) -> Tensor:
    """Return the part of the scores that hides later keys of the block."""
    with torch.inference_mode(False):
        return torch.full((n, n), -torch.inf).triu_(1)


def _blocks(length: int) -> Iterator[tuple[int, int, int]]:
    """Yield (first query, end of queries, rounded number of queries) of each block."""
    size = BLOCK if length <= LONG else ROUND
    for first in range(0, length, size):
        last = min(first + size, length)
        yield first, last, -(-(last - first) // ROUND) * ROUND


def _rounded(x_TKD: Tensor) -> Tensor:
    """Return a copy, heads first, filled up with zeros to a rounded length."""
    T, K, D = x_TKD.shape
    x_KSD = x_TKD.new_zeros(K, -(-T // ROUND) * ROUND, D)
    x_KSD[:, :T] = x_TKD.transpose(0, 1)
    return x_KSD


def _grouped(x_THD: Tensor, K: int, n: int) -> Tensor:
    """Return [K, G n, D]: the queries of each key head, zeros after the last."""
    T, H, D = x_THD.shape
    x_KGnD = x_THD.new_zeros(K, H // K, n, D)
    x_KGnD[:, :, :T] = x_THD.unflatten(1, (K, -1)).permute(1, 2, 0, 3)
    return x_KGnD.flatten(1, 2)


def _ungroup(x_KnD: Tensor, n: int, into_THD: Tensor) -> None:
    """Write [K, G n, D] back into [T, H, D]."""
    T, K = len(into_THD), len(x_KnD)
    into_THD.unflatten(1, (K, -1)).copy_(x_KnD.unflatten(1, (-1, n))[:, :, :T].permute(2, 0, 1, 3))
