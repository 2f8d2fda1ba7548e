"""Attention of packed samples as whole matrix products, for processors that multiply bfloat16 natively.

Queries are cut into blocks of at most 128, and blocks of the same shape are multiplied together:

    sample a  | 128 | 128 | 32 |        with the keys  | 128 | 256 | 288 |
    sample b  | 128 | 64 |                             | 128 | 192 |
    groups    [a0 b0]  [a1]  [b1]  [a2]

A group's scores fill a few megabytes, which a cache holds; keys after a block cost nothing. Lengths are
rounded up to 32, because every new shape costs the matrix library a third of a millisecond. What fills
up a block is the next sample's: hidden from the queries as any later key is, and without a gradient.

No sample's result depends on another's. The G queries that share a key head are rows of one product.

Letters: N tokens of all samples, b blocks of a group, n queries of a block, S keys they may see,
H query heads, K key heads, G = H / K, D head width, P = b K products, R = n G rows of each.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

BLOCK = 128
LONG, SHORTER = 8192, 32
"""Beyond so many tokens blocks are shorter, so that the scores of one still fit into memory."""
ROUND = 32
CACHE = 4 << 20
"""Bytes of float32 scores formed at once."""


class Group(NamedTuple):
    """Blocks of the same shape; a place of N is nobody's."""

    first: int
    """Where the blocks begin in their samples."""
    b: int
    n: int
    query_bn: Tensor
    key_bS: Tensor
    real_bn: Tensor | None
    """True for queries of the sample itself; None where all are."""


@functools.lru_cache(maxsize=4)
def plan(ends: tuple[int, ...], N: int, heads: int) -> list[Group]:
    """Return the groups of blocks of the samples that lie between these ends."""
    alike: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for start, end in zip(ends, ends[1:]):
        size = BLOCK if end - start <= LONG else SHORTER
        for first in range(0, end - start, size):
            n = min(size, -(-(end - start - first) // ROUND) * ROUND)
            alike.setdefault((first, n), []).append((start, end))
    with torch.inference_mode(False):  # made once, maybe while generating, and used for training
        return [
            _group(first, n, own[at : at + room], N)
            for (first, n), own in alike.items()
            for room in [_even(len(own), max(1, CACHE // (4 * heads * n * (first + n))))]
            for at in range(0, len(own), room)
        ]


def _even(total: int, room: int) -> int:
    """Return how many to take at a time, at most `room`, so that the last time is about as full."""
    return -(-total // -(-total // room))


def _group(first: int, n: int, samples: list[tuple[int, int]], N: int) -> Group:
    start_b1, end_b1 = torch.tensor(samples).split(1, dim=1)
    query_bn = start_b1 + torch.arange(first, first + n)
    key_bS = start_b1 + torch.arange(first + n)
    real_bn = query_bn < end_b1
    query_bn, key_bS = (torch.where(place < end_b1, place, N).flatten() for place in (query_bn, key_bS))
    return Group(first, len(samples), n, query_bn, key_bS, None if bool(real_bn.all()) else real_bn)


def forward(q_NHD: Tensor, k_NKD: Tensor, v_NKD: Tensor, ends: tuple[int, ...], scale: float) -> Tensor:
    """Return what each query reads; zeros after the last end."""
    N, H = q_NHD.shape[:2]
    out_NHD = q_NHD.new_zeros(N + 1, *q_NHD.shape[1:])
    for group in plan(ends, N, H):
        q_PRD = _take(q_NHD, group.query_bn, group, k_NKD.shape[1])
        k_PSD, v_PSD = (_take(x, group.key_bS, group, x.shape[1]) for x in (k_NKD, v_NKD))
        weights_PRS = _weights(q_PRD, k_PSD, group, scale)
        _put(out_NHD, group.query_bn, torch.bmm(weights_PRS, v_PSD), group)
    return out_NHD[:N]


def backward(
    grad_NHD: Tensor, q_NHD: Tensor, k_NKD: Tensor, v_NKD: Tensor, ends: tuple[int, ...], scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of queries, keys and values; the weights are formed again."""
    N, H, D = q_NHD.shape
    K = k_NKD.shape[1]
    into_q_NHD = q_NHD.new_zeros(N + 1, H, D)
    into_k_NKD, into_v_NKD = (torch.zeros(N + 1, K, D) for _ in "kv")
    for group in plan(ends, N, H):
        q_PRD, grad_PRD = (_take(x, group.query_bn, group, K) for x in (q_NHD, grad_NHD))
        k_PSD, v_PSD = (_take(x, group.key_bS, group, K) for x in (k_NKD, v_NKD))
        if group.real_bn is not None:
            grad_PRD.view(group.b, K, group.n, -1).mul_(group.real_bn.view(group.b, 1, group.n, 1))
        weights_PRS = _weights(q_PRD, k_PSD, group, scale)
        _add(into_v_NKD, group, torch.bmm(weights_PRS.mT, grad_PRD))
        grad_PRS = torch.bmm(grad_PRD, v_PSD.mT)
        grad_PRS = torch.ops.aten._softmax_backward_data(grad_PRS, weights_PRS, -1, grad_PRS.dtype)
        _add(into_k_NKD, group, _times(scale, grad_PRS.mT, q_PRD))
        _put(into_q_NHD, group.query_bn, _times(scale, grad_PRS, k_PSD), group)
    return into_q_NHD[:N], into_k_NKD[:N].to(k_NKD.dtype), into_v_NKD[:N].to(v_NKD.dtype)


def _weights(q_PRD: Tensor, k_PSD: Tensor, group: Group, scale: float) -> Tensor:
    """Return each query's weights over the keys.

    A bfloat16 product rounds the scores to 8 bits. What it rounded away is a second product, which
    costs a third of a float32 one: scores = product + (queries keys - product).
    """
    high_PRS = _times(scale, q_PRD, k_PSD.mT)
    low_PRS = torch.baddbmm(high_PRS, q_PRD, k_PSD.mT, beta=-1, alpha=scale)
    scores_PRS = high_PRS.float().add_(low_PRS.float())
    scores_PRS.view(len(q_PRD), group.n, -1, k_PSD.shape[1])[..., group.first :].add_(_future(group.n))
    return torch.softmax(scores_PRS, -1).to(q_PRD.dtype)


def _times(scale: float, a: Tensor, b: Tensor) -> Tensor:
    """Return scale * a b, scaled before it is rounded."""
    return torch.baddbmm(a.new_empty(1, 1, 1), a, b, beta=0, alpha=scale)


@functools.cache
def _future(n: int) -> Tensor:
    """Return what hides the later keys of a block [n, 1, n], for the G queries of each place."""
    with torch.inference_mode(False):
        return torch.full((n, n), -torch.inf).triu_(1).unsqueeze(1)


def _take(x_NHD: Tensor, place_bn: Tensor, group: Group, K: int) -> Tensor:
    """Return [P, n G, D]: the tokens at these places, by block and key head."""
    N, H, D = x_NHD.shape
    x_bnKX = x_NHD.reshape(N, -1).index_select(0, place_bn.clamp(max=N - 1)).view(group.b, -1, K, H // K * D)
    return x_bnKX.transpose(1, 2).reshape(group.b * K, -1, D)


def _rows(x_PRD: Tensor, group: Group, X: int) -> Tensor:
    """Return [b n, X]: the reverse of `_take`, a row a place."""
    K = len(x_PRD) // group.b
    return x_PRD.view(group.b, K, -1, X // K).transpose(1, 2).reshape(-1, X)


def _put(into_NHD: Tensor, place_bn: Tensor, x_PRD: Tensor, group: Group) -> None:
    into_NX = into_NHD.view(len(into_NHD), -1)
    into_NX.index_copy_(0, place_bn, _rows(x_PRD, group, into_NX.shape[1]))


def _add(into_NKD: Tensor, group: Group, x_PSD: Tensor) -> None:
    """Add to the keys of a group. They are all different ones, so reading and writing back is adding."""
    into_NX = into_NKD.view(len(into_NKD), -1)
    own_nX = into_NX.index_select(0, group.key_bS)
    into_NX.index_copy_(0, group.key_bS, own_nX.add_(_rows(x_PSD, group, into_NX.shape[1]).float()))
