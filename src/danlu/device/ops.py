"""The operations a model is made of: plain torch, or whatever the accelerator has that is faster.

Each function first asks the table of the current accelerator (`cuda.py`, `npu.py`); an entry there
has the same signature and may answer NotImplemented for arguments it does not know. Entries are tried
once, on something small, before they are used; one that fails is said once and never called again.

`Layout` says which keys a query may see. In training it is the samples' bounds, from which no mask is
ever made where a kernel can do without:

    bounds     0 4 6 9      cumulative starts of the samples in the flattened [B T] tokens; packed rows
    mask_BTS   True = see   cached decoding, where every row is at its own place
    neither                 each row is one sample from its first token on

Letters: B rows, T queries in each, S keys, H query heads, K key heads, D head width, N tokens, C and F
widths, E experts, V words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from danlu.base.log import say_once
from danlu.device import api, grouped, linear_ce, varlen
from danlu.device.linear_ce import IGNORE

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


@dataclass
class Layout:
    """Which keys each query may see."""

    bounds: Tensor | None = None
    """[n+1], cumulative starts of the samples over the flattened tokens."""
    longest: int = 0
    """Tokens of the longest sample, or more."""
    mask_BTS: Tensor | None = None
    """True where a query sees a key."""


# Choosing

_probed: dict[tuple[str, str], bool] = {}


def probe() -> None:
    """Try the accelerator's operations; call it before anything is compiled."""
    device = api.current()
    for name, fast in device.ops.items():
        if (device.kind, name) not in _probed:
            _probed[device.kind, name] = _try(name, fast, device.torch)


def _faster(name: str, like: Tensor) -> Callable[..., Any] | None:
    """Return the accelerator's own version of an operation for a tensor that lies on it."""
    device = api.current()
    fast = device.ops.get(name) if device.kind == like.device.type else None
    if fast is None:
        return None
    if (device.kind, name) not in _probed and not torch.compiler.is_compiling():
        _probed[device.kind, name] = _try(name, fast, device.torch)
    return fast if _probed.get((device.kind, name), False) else None


def _try(name: str, fast: Callable[..., Any], device: torch.device) -> bool:
    """Return whether a fast operation agrees with the plain one, forward and backward."""
    plain, arguments = _examples(device)[name]
    try:
        results = [_with_gradients(function, arguments) for function in (plain, fast)]
        if results[1] is not None:
            torch.testing.assert_close(*results, rtol=0.05, atol=0.05)
        return True
    except (RuntimeError, AssertionError, TypeError, AttributeError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        say_once(f"ops: {name} of {device.type} is not used: {reason[0]}")
        return False


def _with_gradients(function: Callable[..., Any], arguments: tuple[Any, ...]) -> list[Tensor] | None:
    inputs = [x.clone().requires_grad_() if _is_float(x) else x for x in arguments]
    output = function(*inputs)
    if output is NotImplemented:
        return None
    outputs = output if isinstance(output, tuple) else (output,)
    wanted = [x for x in inputs if _is_float(x) and x.dim() > 1]
    return [
        *outputs,
        *torch.autograd.grad(sum(y.float().square().sum() for y in outputs), wanted, allow_unused=True),
    ]


def _is_float(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point()


def _examples(device: torch.device) -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """Return each operation's plain version with small arguments, in the device's own number format."""
    generator = torch.Generator().manual_seed(0)
    dtype = api.current().default_dtype()

    def some(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device, dtype)

    angles_BTD = torch.rand(1, 16, 32, generator=generator).repeat(1, 1, 2).to(device)
    layout = Layout(torch.tensor([0, 5, 16], dtype=torch.int32, device=device), 11)
    q_BTHD, k_BTKD, v_BTKD = some(1, 16, 4, 64), some(1, 16, 2, 64), some(1, 16, 2, 64)
    labels_N = torch.randint(0, 48, (16,), generator=generator).to(device)
    counts_E = torch.tensor([5, 0, 11], dtype=torch.int32, device=device)
    return {
        "rms_norm": (_rms_norm, (some(16, 64), some(64), 1e-6)),
        "swiglu": (_swiglu, (some(16, 64), some(16, 64))),
        "rotary": (_rotary, (q_BTHD, k_BTKD, angles_BTD.cos(), angles_BTD.sin())),
        "attention": (_attention, (q_BTHD, k_BTKD, v_BTKD, layout, 0.125, None, None)),
        "grouped_matmul": (grouped.grouped_matmul, (some(16, 64), some(3, 32, 64), counts_E)),
        "cross_entropy": (linear_ce.plain, (some(16, 64), some(48, 64), labels_N)),
    }


# The operations


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return `x` over its root mean square, times `weight` (Zhang and Sennrich 2019)."""
    fast = _faster("rms_norm", x)
    out = fast(x, weight, eps) if fast else NotImplemented
    return _rms_norm(x, weight, eps) if out is NotImplemented else out


def _rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * weight).to(x.dtype)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """Return silu(gate) * up (Shazeer 2020)."""
    fast = _faster("swiglu", gate)
    out = fast(gate, up) if fast else NotImplemented
    return _swiglu(gate, up) if out is NotImplemented else out


def _swiglu(gate: Tensor, up: Tensor) -> Tensor:
    return F.silu(gate) * up


def rotary(q_BTHD: Tensor, k_BTKD: Tensor, cos_BTD: Tensor, sin_BTD: Tensor) -> tuple[Tensor, Tensor]:
    """Return queries and keys turned by their positions, in Hugging Face's order of halves.

    Tables narrower than the heads turn only the first part of each head.
    """
    fast = _faster("rotary", q_BTHD)
    out = fast(q_BTHD, k_BTKD, cos_BTD, sin_BTD) if fast else NotImplemented
    return _rotary(q_BTHD, k_BTKD, cos_BTD, sin_BTD) if out is NotImplemented else out


def _rotary(q_BTHD: Tensor, k_BTKD: Tensor, cos_BTD: Tensor, sin_BTD: Tensor) -> tuple[Tensor, Tensor]:
    cos_BT1D, sin_BT1D = cos_BTD.unsqueeze(2), sin_BTD.unsqueeze(2)
    return _turn(q_BTHD, cos_BT1D, sin_BT1D), _turn(k_BTKD, cos_BT1D, sin_BT1D)


def _turn(x_BTHD: Tensor, cos_BT1D: Tensor, sin_BT1D: Tensor) -> Tensor:
    width = cos_BT1D.shape[-1]
    turned = x_BTHD[..., :width]
    first, second = turned.chunk(2, dim=-1)
    turned = (turned * cos_BT1D + torch.cat((-second, first), dim=-1) * sin_BT1D).to(x_BTHD.dtype)
    return turned if width == x_BTHD.shape[-1] else torch.cat((turned, x_BTHD[..., width:]), dim=-1)


def attention(
    q_BTHD: Tensor,
    k_BSKD: Tensor,
    v_BSKD: Tensor,
    layout: Layout,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
) -> Tensor:
    """Return what each query reads: softmax(scale q·k) over the keys the layout lets it see, times v.

    H query heads share K key heads. `window` is how many keys a query sees, itself included; `softcap`
    bends scores to softcap * tanh(score / softcap).
    """
    fast = _faster("attention", q_BTHD)
    out = fast(q_BTHD, k_BSKD, v_BSKD, layout, scale, window, softcap) if fast else NotImplemented
    if out is not NotImplemented:
        return out
    on_cpu = q_BTHD.device.type == "cpu" and layout.mask_BTS is None and window is None and softcap is None
    return (_packed if on_cpu else _attention)(q_BTHD, k_BSKD, v_BSKD, layout, scale, window, softcap)


def _packed(
    q_BTHD: Tensor, k_BSKD: Tensor, v_BSKD: Tensor, layout: Layout, scale: float, *_: float | None
) -> Tensor:
    B, T = q_BTHD.shape[:2]
    bounds = layout.bounds
    if bounds is None:
        bounds = torch.arange(0, B * T + 1, max(T, 1), dtype=torch.int32)
    inputs = (x.flatten(0, 1) for x in (q_BTHD, k_BSKD, v_BSKD))
    return varlen.packed_attention(*inputs, bounds, scale)[0].view(q_BTHD.shape)


def _attention(
    q_BTHD: Tensor,
    k_BSKD: Tensor,
    v_BSKD: Tensor,
    layout: Layout,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
) -> Tensor:
    """Return the same by torch's own attention, with a boolean mask where one is needed."""
    q_BHTD, k_BKSD, v_BKSD = (x.transpose(1, 2) for x in (q_BTHD, k_BSKD, v_BSKD))
    causal = layout.bounds is None and layout.mask_BTS is None and window is None
    mask_B1TS = None if causal else _mask(layout, q_BTHD.shape[:2], k_BSKD.shape[1], window, q_BTHD.device)
    if softcap is None:
        out_BHTD = F.scaled_dot_product_attention(
            q_BHTD, k_BKSD, v_BKSD, attn_mask=mask_B1TS, is_causal=causal, scale=scale, enable_gqa=True
        )
        return out_BHTD.transpose(1, 2)
    groups = q_BTHD.shape[2] // k_BSKD.shape[2]
    k_BHSD, v_BHSD = (x.repeat_interleave(groups, dim=1) for x in (k_BKSD, v_BKSD))
    scores_BHTS = softcap * torch.tanh((q_BHTD @ k_BHSD.mT).float() * (scale / softcap))
    if mask_B1TS is None:
        mask_B1TS = _mask(layout, q_BTHD.shape[:2], k_BSKD.shape[1], window, q_BTHD.device)
    weights_BHTS = torch.softmax(scores_BHTS.masked_fill(~mask_B1TS, -torch.inf), -1)
    return (weights_BHTS.nan_to_num(0.0).to(v_BHSD.dtype) @ v_BHSD).transpose(1, 2)


def _mask(layout: Layout, shape: torch.Size, S: int, window: int | None, device: torch.device) -> Tensor:
    """Return the boolean mask [B, 1, T, S] that a layout stands for."""
    B, T = shape
    if layout.mask_BTS is not None:
        mask_BTS = layout.mask_BTS
        if window is not None:
            # Keys lie at their own positions: a query's is that of the last key it sees.
            last_BT1 = torch.where(mask_BTS, torch.arange(S, device=device), -1).amax(-1, keepdim=True)
            mask_BTS = mask_BTS & (torch.arange(S, device=device) > last_BT1 - window)
        return mask_BTS.unsqueeze(1)
    place_T = torch.arange(T, device=device)
    mask_BTS = (place_T[:, None] >= place_T)[None]
    if window is not None:
        mask_BTS = mask_BTS & (place_T[:, None] - place_T < window)
    if layout.bounds is not None:
        sample_BT = torch.bucketize(
            torch.arange(B * T, device=device), layout.bounds[1:].contiguous(), right=True
        )
        sample_BT = sample_BT.view(B, T)
        mask_BTS = mask_BTS & (sample_BT[:, :, None] == sample_BT[:, None])
    return mask_BTS.unsqueeze(1)


def grouped_matmul(x_NC: Tensor, weight_EFC: Tensor, counts_E: Tensor) -> Tensor:
    """Return each row times its expert's weights transposed; rows are sorted by expert."""
    fast = _faster("grouped_matmul", x_NC)
    out = fast(x_NC, weight_EFC, counts_E) if fast else NotImplemented
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
) -> Tensor:
    """Return each token's negative log-likelihood in float32, zero where its label is IGNORE.

    `weights_N` multiply it. `kept` chooses one of the plans of `linear_ce`; None lets the size decide.
    """
    fast = _faster("cross_entropy", hidden_NC)
    nll_N = fast(hidden_NC, head_VC, labels_N) if fast else NotImplemented
    if nll_N is NotImplemented:
        nll_N = linear_ce.LinearCrossEntropy.apply(hidden_NC, head_VC, labels_N, kept)
    return nll_N if weights_N is None else nll_N * weights_N
