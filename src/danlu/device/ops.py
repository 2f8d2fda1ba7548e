"""The operations a model is made of: plain torch, or whatever the accelerator has that is faster.

Each function first asks the table of the current accelerator (`cuda.py`, `npu.py`); an entry there
has the same signature and may answer NotImplemented for arguments it does not know.

Letters: B rows, T queries in each, S keys, H query heads, K key heads, D head width, N tokens, C and F
widths, E experts, V words.
"""

from __future__ import annotations

import torch
from torch import Tensor

from danlu.device import faster, grouped, linear_ce, plain, varlen
from danlu.device.faster import probe
from danlu.device.linear_ce import IGNORE
from danlu.device.plain import Layout

__all__ = [
    "IGNORE",
    "Layout",
    "attention",
    "cross_entropy",
    "grouped_matmul",
    "probe",
    "rms_norm",
    "rotary",
    "row_multiple",
    "swiglu",
]


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return `x` over its root mean square, times `weight` (Zhang and Sennrich 2019)."""
    out = faster.call("rms_norm", x, x, weight, eps)
    return plain.rms_norm(x, weight, eps) if out is NotImplemented else out


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """Return silu(gate) * up (Shazeer 2020)."""
    out = faster.call("swiglu", gate, gate, up)
    return plain.swiglu(gate, up) if out is NotImplemented else out


def rotary(q_BTHD: Tensor, k_BTKD: Tensor, cos_BTD: Tensor, sin_BTD: Tensor) -> tuple[Tensor, Tensor]:
    """Return queries and keys turned by their positions, in Hugging Face's order of halves.

    Tables narrower than the heads turn only the first part of each head.
    """
    out = faster.call("rotary", q_BTHD, q_BTHD, k_BTKD, cos_BTD, sin_BTD)
    return plain.rotary(q_BTHD, k_BTKD, cos_BTD, sin_BTD) if out is NotImplemented else out


def attention(
    q_BTHD: Tensor,
    k_BSKD: Tensor,
    v_BSKD: Tensor,
    layout: Layout,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
    slopes_H: Tensor | None = None,
) -> Tensor:
    """Return what each query reads: softmax(scale q·k) over the keys the layout lets it see, times v.

    H query heads share K key heads. `window` is how many keys a query sees, itself included; `softcap`
    bends scores to softcap * tanh(score / softcap); `slopes_H` lowers them by slope times distance.
    """
    if slopes_H is not None:
        return plain.attention(q_BTHD, k_BSKD, v_BSKD, layout, scale, window, softcap, slopes_H)
    out = faster.call("attention", q_BTHD, q_BTHD, k_BSKD, v_BSKD, layout, scale, window, softcap)
    if out is not NotImplemented:
        return out
    on_cpu = q_BTHD.device.type == "cpu" and layout.mask_BTS is None and window is None and softcap is None
    return (_packed if on_cpu else plain.attention)(q_BTHD, k_BSKD, v_BSKD, layout, scale, window, softcap)


def _packed(
    q_BTHD: Tensor, k_BSKD: Tensor, v_BSKD: Tensor, layout: Layout, scale: float, *_: float | None
) -> Tensor:
    B, T = q_BTHD.shape[:2]
    bounds = layout.bounds
    if bounds is None:
        bounds = torch.arange(0, B * T + 1, max(T, 1), dtype=torch.int32)
    inputs = (x.flatten(0, 1) for x in (q_BTHD, k_BSKD, v_BSKD))
    return varlen.packed_attention(*inputs, bounds, scale)[0].view(q_BTHD.shape)


def grouped_matmul(x_NC: Tensor, weight_EFC: Tensor, counts_E: Tensor) -> Tensor:
    """Return each row times its expert's weights transposed; rows are sorted by expert."""
    out = faster.call("grouped_matmul", x_NC, x_NC, weight_EFC, counts_E)
    return grouped.grouped_matmul(x_NC, weight_EFC, counts_E) if out is NotImplemented else out


def row_multiple(x: Tensor) -> int:
    """Return what the rows of an expert should be filled up to a multiple of, on the device of `x`."""
    return grouped.ROUND.get(x.device.type, 1)


def cross_entropy(
    hidden_NC: Tensor,
    head_VC: Tensor,
    labels_N: Tensor,
    weights_N: Tensor | None = None,
    kept: bool | None = None,
    softcap: float | None = None,
) -> Tensor:
    """Return each token's negative log-likelihood in float32, zero where its label is IGNORE.

    `weights_N` multiply it. `kept` chooses one of the plans of `linear_ce`; None lets the size decide.
    `softcap` bends scores as in `attention`.
    """
    nll_N = NotImplemented
    if softcap is None:
        nll_N = faster.call("cross_entropy", hidden_NC, hidden_NC, head_VC, labels_N)
    if nll_N is NotImplemented:
        nll_N = linear_ce.LinearCrossEntropy.apply(hidden_NC, head_VC, labels_N, kept, softcap)
    return nll_N if weights_N is None else nll_N * weights_N
