"""npu_fusion_attention and its derivative in plain torch, for the layouts BNSD, BSND, BSH, SBH and TND.

Letters: B rows, N heads, S queries, T keys (or tokens in all), D head width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

FAR = 2147483647
HIDDEN = -1e30  # added to what may not be seen
WIDE = 8  # the softmax's maximum and sum come this many times over


def split(t: Tensor, layout: str, heads: int, ends: Any) -> list[Tensor]:
    """Return a tensor of any layout as pieces [B, N, S, D]: one, or in TND one a sample."""
    if layout == "TND":
        assert ends and ends[-1] == len(t), "ends that cover all tokens"
        return [t[start:end].transpose(0, 1)[None] for start, end in zip([0, *ends[:-1]], ends)]
    if layout == "BSND":
        return [t.transpose(1, 2)]
    if layout == "BSH":
        return [t.unflatten(2, (heads, -1)).transpose(1, 2)]
    if layout == "SBH":
        return [t.unflatten(2, (heads, -1)).permute(1, 2, 0, 3)]
    assert layout == "BNSD", layout
    return [t]


def join(pieces: list[Tensor], layout: str) -> Tensor:
    """Return pieces in their layout again."""
    if layout == "TND":
        return torch.cat([piece[0].transpose(0, 1) for piece in pieces])
    (whole,) = pieces
    if layout == "BSND":
        return whole.transpose(1, 2).contiguous()
    if layout == "BSH":
        return whole.transpose(1, 2).flatten(2)
    return whole.permute(2, 0, 1, 3).flatten(2) if layout == "SBH" else whole


def hidden_keys(S: int, T: int, sparse: int, mask: Tensor | None, before: int, after: int) -> Tensor | None:
    """Return True where a query may not see a key, as `sparse_mode` says.

    0 and 1 take the mask as it is; 2 is causal from the top left, 3 from the bottom right, 4 a band from
    there, and these three want the one triangle of 2048 for a mask.
    """
    if sparse in (0, 1):
        return None if mask is None else mask.bool()
    assert mask is not None
    shift = 0 if sparse == 2 else T - S
    distance = torch.arange(S)[:, None] + shift - torch.arange(T)  # how far back a key lies
    if sparse in (2, 3):
        return (distance < 0).to(mask.device)
    assert sparse == 4, sparse
    return ((distance > before) | (distance < -after)).to(mask.device)


def softmax(q: Tensor, k: Tensor, how: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weights of the keys in float32, and the softmax's maximum and sum."""
    hidden = hidden_keys(q.shape[2], k.shape[2], how["sparse"], how["mask"], how["before"], how["after"])
    scores = q.float() @ k.transpose(-1, -2) * how["scale"]
    if how["bias"] is not None:
        scores = scores + how["bias"].float()
    if hidden is not None:
        scores = scores.masked_fill(hidden, HIDDEN)
    most = scores.amax(-1, keepdim=True)
    weights = (scores - most).exp()
    total = weights.sum(-1, keepdim=True)
    return weights / total, most, total


def for_every_head(t: Tensor, like: Tensor) -> Tensor:
    """Return keys or values in float32, repeated for the heads that share them."""
    return t.float().repeat_interleave(like.shape[1] // t.shape[1], 1)


def shared(t: Tensor, like: Tensor) -> Tensor:
    """Return a gradient of repeated heads summed up for those that there are."""
    return t.unflatten(1, (like.shape[1], -1)).sum(2)


def pieces(query: Tensor, key: Tensor, value: Tensor, heads: int, layout: str, how: dict[str, Any]) -> Any:
    """Return the triples of queries, keys and values that belong together."""
    if how["sparse"] >= 2:
        triangle = torch.ones(2048, 2048, dtype=torch.bool, device=query.device).triu(1)
        mask = how["mask"]
        assert mask is not None and torch.equal(mask.reshape(2048, 2048), triangle), "the triangle of 2048"
    q = split(query, layout, heads, how["q_ends"])
    key_heads = key.shape[-1] // q[0].shape[-1]  # of the layouts that do not say it
    return list(zip(q, *(split(t, layout, key_heads, how["k_ends"]) for t in (key, value)), strict=True))


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, layout: str, **how: Any) -> Any:
    """Return the output in its layout, and the softmax's two numbers."""
    outs, mosts, totals = [], [], []
    for q, k, v in pieces(query, key, value, heads, layout, how):
        weights, most, total = softmax(q, for_every_head(k, q), how)
        outs.append(weights @ for_every_head(v, q))
        mosts.append(most)
        totals.append(total)
    numbers = [join(each, "TND") if layout == "TND" else each[0] for each in (mosts, totals)]
    return join(outs, layout).to(query.dtype), *numbers


def gradients(
    query: Tensor, key: Tensor, value: Tensor, dy: Tensor, heads: int, layout: str, **how: Any
) -> tuple[Tensor, ...]:
    """Return the derivatives: with dw = dy v, the scores' is weights (dw - sum of dw weights)."""
    found: list[list[Tensor]] = [[], [], []]
    dys = split(dy, layout, heads, how["q_ends"])
    for (q, k, v), one in zip(pieces(query, key, value, heads, layout, how), dys, strict=True):
        each_k, each_v, dy_one = for_every_head(k, q), for_every_head(v, q), one.float()
        weights = softmax(q, each_k, how)[0]
        dw = dy_one @ each_v.transpose(-1, -2)
        ds = weights * (dw - (dw * weights).sum(-1, keepdim=True)) * how["scale"]
        found[0].append(ds @ each_k)
        found[1].append(shared(ds.transpose(-1, -2) @ q.float(), k))
        found[2].append(shared(weights.transpose(-1, -2) @ dy_one, v))
    return tuple(join(each, layout).to(query.dtype) for each in found)


def forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    head_num: int,
    input_layout: str,
    pse: Tensor | None = None,
    padding_mask: Tensor | None = None,
    atten_mask: Tensor | None = None,
    scale: float = 1.0,
    keep_prob: float = 1.0,
    pre_tockens: int = FAR,
    next_tockens: int = FAR,
    inner_precise: int = 0,
    prefix: Any = None,
    actual_seq_qlen: Any = None,
    actual_seq_kvlen: Any = None,
    sparse_mode: int = 0,
    *rest: Any,
    **other: Any,
) -> tuple[Any, ...]:
    """npu_fusion_attention: output, softmax maximum and sum, nothing, and three numbers of its dropout."""
    assert keep_prob == 1.0 and prefix is None and padding_mask is None, "not in this reference"
    out, most, total = attend(
        query, key, value, head_num, input_layout, scale=scale, sparse=sparse_mode, mask=atten_mask, bias=pse,
        before=pre_tockens, after=next_tockens, q_ends=actual_seq_qlen, k_ends=actual_seq_kvlen,
    )  # fmt: skip
    wide = [t.expand(*t.shape[:-1], WIDE).contiguous() for t in (most, total)]
    return out, *wide, query.new_empty(0), 0, 0, 0


def backward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dy: Tensor,
    head_num: int,
    input_layout: str,
    *,
    pse: Tensor | None = None,
    atten_mask: Tensor | None = None,
    scale_value: float = 1.0,
    pre_tockens: int = FAR,
    next_tockens: int = FAR,
    actual_seq_qlen: Any = None,
    actual_seq_kvlen: Any = None,
    sparse_mode: int = 0,
    **other: Any,
) -> tuple[Tensor, ...]:
    """npu_fusion_attention_grad."""
    found = gradients(
        query, key, value, dy, head_num, input_layout, scale=scale_value, sparse=sparse_mode, mask=atten_mask,
        bias=pse, before=pre_tockens, after=next_tockens, q_ends=actual_seq_qlen, k_ends=actual_seq_kvlen,
    )  # fmt: skip
    nothing = query.new_empty(0)
    return *found, nothing, nothing


def forward_v3(*arguments: Any, **more: Any) -> tuple[Any, ...]:
    """The same with its dropout's seed and offset as tensors."""
    out = forward(*arguments, **more)
    zero = torch.zeros(1, dtype=torch.int64, device=out[0].device)
    return *out[:4], zero, zero.clone()


def backward_v3(*arguments: Any, seed: Any = None, offset: Any = None, **more: Any) -> tuple[Tensor, ...]:
    return backward(*arguments, **more)
