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


def to_bnsd(t: Tensor, heads: int, layout: str) -> Tensor:
    if layout == "BSND":
        return t.transpose(1, 2)
    if layout == "BSH":
        return t.unflatten(2, (heads, -1)).transpose(1, 2)
    if layout == "SBH":
        return t.unflatten(2, (heads, -1)).permute(1, 2, 0, 3)
    assert layout == "BNSD", layout
    return t


def from_bnsd(t: Tensor, layout: str) -> Tensor:
    if layout == "BSND":
        return t.transpose(1, 2).contiguous()
    if layout == "BSH":
        return t.transpose(1, 2).flatten(2)
    return t.permute(2, 0, 1, 3).flatten(2) if layout == "SBH" else t


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


def scores_to_output(
    q: Tensor, k: Tensor, v: Tensor, scale: float, hidden: Tensor | None, bias: Tensor | None
) -> Any:
    """Return the output, and the softmax's maximum and sum, all in float32; heads share keys in groups."""
    groups = q.shape[1] // k.shape[1]
    k, v = (t.float().repeat_interleave(groups, 1) for t in (k, v))
    scores = q.float() @ k.transpose(-1, -2) * scale
    if bias is not None:
        scores = scores + bias.float()
    if hidden is not None:
        scores = scores.masked_fill(hidden, HIDDEN)
    most = scores.amax(-1, keepdim=True)
    weights = (scores - most).exp()
    total = weights.sum(-1, keepdim=True)
    return weights / total @ v, most, total


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, layout: str, **how: Any) -> Any:
    """Return the output in its layout, and the softmax's two numbers."""
    scale, sparse, mask = how["scale"], how["sparse"], how["mask"]
    if sparse >= 2:
        triangle = torch.ones(2048, 2048, dtype=torch.bool, device=query.device).triu(1)
        assert mask is not None and torch.equal(mask.reshape(2048, 2048), triangle), "the triangle of 2048"
    near = how["before"], how["after"]
    if layout == "TND":
        return attend_packed(query, key, value, how)
    q = to_bnsd(query, heads, layout)
    key_heads = key.shape[2] // q.shape[-1] if layout in ("BSH", "SBH") else 0
    k, v = (to_bnsd(t, key_heads, layout) for t in (key, value))
    hidden = hidden_keys(q.shape[2], k.shape[2], sparse, mask, *near)
    out, most, total = scores_to_output(q, k, v, scale, hidden, how["bias"])
    return from_bnsd(out.to(query.dtype), layout), most, total


def attend_packed(query: Tensor, key: Tensor, value: Tensor, how: dict[str, Any]) -> Any:
    """TND: samples one after another, whose cumulative ends are given."""
    q_ends, k_ends = how["q_ends"], how["k_ends"]
    assert q_ends and k_ends and q_ends[-1] == len(query) and k_ends[-1] == len(key), (
        "ends that cover all tokens"
    )
    parts = []
    for a, b, c, d in zip([0, *q_ends[:-1]], q_ends, [0, *k_ends[:-1]], k_ends):
        one = (t.transpose(0, 1)[None] for t in (query[a:b], key[c:d], value[c:d]))
        hidden = hidden_keys(b - a, d - c, how["sparse"], how["mask"], how["before"], how["after"])
        parts.append([t[0].transpose(0, 1) for t in scores_to_output(*one, how["scale"], hidden, None)])
    out, most, total = (torch.cat(each) for each in zip(*parts))
    return out.to(query.dtype), most, total


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
    """npu_fusion_attention_grad, by autograd through the same."""
    with torch.enable_grad():
        inputs = [t.detach().requires_grad_() for t in (query, key, value)]
        out = attend(
            *inputs, head_num, input_layout, scale=scale_value, sparse=sparse_mode, mask=atten_mask, bias=pse,
            before=pre_tockens, after=next_tockens, q_ends=actual_seq_qlen, k_ends=actual_seq_kvlen,
        )[0]  # fmt: skip
        gradients = torch.autograd.grad(out, inputs, dy)
    nothing = query.new_empty(0)
    return *gradients, nothing, nothing


def forward_v3(*arguments: Any, **more: Any) -> tuple[Any, ...]:
    """The same with its dropout's seed and offset as tensors."""
    out = forward(*arguments, **more)
    zero = torch.zeros(1, dtype=torch.int64, device=out[0].device)
    return *out[:4], zero, zero.clone()


def backward_v3(*arguments: Any, seed: Any = None, offset: Any = None, **more: Any) -> tuple[Tensor, ...]:
    return backward(*arguments, **more)
