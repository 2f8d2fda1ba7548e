"""The operations of `ops` in plain torch: what runs where nothing faster is known, and the oracle of what is.

`Layout` says which keys a query may see. In training it is the samples' bounds, from which no mask is
ever made where a kernel can do without:

    bounds     0 4 6 9      cumulative starts of the samples in the flattened [B T] tokens; packed rows
    mask_BTS   True = see   cached decoding, where every row is at its own place
    neither                 each row is one sample from its first token on

Letters: B rows, T queries in each, S keys, H query heads, K key heads, G query heads to a key head, D head
width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass
class Layout:
    """Which keys each query may see."""

    bounds: Tensor | None = None
    """[n+1], cumulative starts of the samples over the flattened tokens."""
    longest: int = 0
    """Tokens of the longest sample, or more."""
    mask_BTS: Tensor | None = None
    """True where a query sees a key."""
    lengths: list[int] | None = None
    """Tokens of each row's text, as far as it is known: some positions are stretched by them."""


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return `x` over its root mean square, times `weight`, computed in float32."""
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * weight).to(x.dtype)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """Return silu(gate) * up."""
    return F.silu(gate) * up


def rotary(q_BTHD: Tensor, k_BTKD: Tensor, cos_BTD: Tensor, sin_BTD: Tensor) -> tuple[Tensor, Tensor]:
    """Return queries and keys turned by their positions."""
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
    slopes_H: Tensor | None = None,
) -> Tensor:
    """Return what each query reads by torch's own attention, with a mask where one is needed."""
    if slopes_H is not None:
        seen_B1TS = _mask(layout, q_BTHD.shape[:2], k_BSKD.shape[1], window, q_BTHD.device)
        return _sloped(q_BTHD, k_BSKD, v_BSKD, seen_B1TS, scale, slopes_H)
    q_BHTD, k_BKSD, v_BKSD = (x.transpose(1, 2) for x in (q_BTHD, k_BSKD, v_BSKD))
    causal = layout.bounds is None and layout.mask_BTS is None and window is None
    mask_B1TS = None if causal else _mask(layout, q_BTHD.shape[:2], k_BSKD.shape[1], window, q_BTHD.device)
    if softcap is None and mask_B1TS is not None and q_BTHD.shape[1] == 1:
        # The heads that share a key head are so many queries of it: its keys are read once for all of them.
        q_BKGD = q_BTHD.view(q_BTHD.shape[0], k_BKSD.shape[1], -1, q_BTHD.shape[-1])
        out_BKGD = F.scaled_dot_product_attention(q_BKGD, k_BKSD, v_BKSD, attn_mask=mask_B1TS, scale=scale)
        return out_BKGD.reshape(q_BTHD.shape)
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


def _sloped(
    q_BTHD: Tensor,
    k_BSKD: Tensor,
    v_BSKD: Tensor,
    mask_B1TS: Tensor,
    scale: float,
    slopes_H: Tensor,
) -> Tensor:
    """Return attention whose scores fall with the distance of the key (ALiBi, Press et al. 2022).

    Slopes in bfloat16 are Falcon's: they rise from a sample's first key, rounded, and are scaled as scores
    are. Counted from the query they would be the same but for what the rounding does.
    """
    place_S = torch.arange(k_BSKD.shape[1], device=q_BTHD.device)
    slopes_H11 = slopes_H[:, None, None]
    if slopes_H.dtype == torch.bfloat16:
        first_B1T1 = torch.where(mask_B1TS, place_S, len(place_S)).amin(-1, keepdim=True)
        fall_BHTS = ((place_S - first_B1T1) * slopes_H11).float() * scale
    else:
        last_B1T1 = torch.where(mask_B1TS, place_S, -1).amax(-1, keepdim=True)  # where the query stands
        fall_BHTS = (place_S - last_B1T1) * slopes_H11.float()
    bias_BHTS = fall_BHTS.masked_fill(~mask_B1TS, -torch.inf).to(q_BTHD.dtype)
    q_BHTD, k_BKSD, v_BKSD = (x.transpose(1, 2) for x in (q_BTHD, k_BSKD, v_BSKD))
    out_BHTD = F.scaled_dot_product_attention(
        q_BHTD, k_BKSD, v_BKSD, attn_mask=bias_BHTS, scale=scale, enable_gqa=True
    )
    return out_BHTD.transpose(1, 2)


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
