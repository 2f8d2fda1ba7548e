"""Rotary positions (Su et al. 2021) and the published ways to stretch them.

    angle(position p, pair i) = p * frequency_i       frequency_i = theta ** (-2 i / R)

A stretch changes the frequencies, and for YaRN and LongRoPE multiplies the tables by a factor:

    linear    all frequencies / factor                      Chen et al. 2023
    dynamic   a larger theta once the text is longer        "NTK-aware", the length decides
    yarn      short wavelengths kept, long ones / factor    Peng et al. 2023
    llama3    the same idea with other borders              Llama 3.1
    longrope  a divisor for every frequency                 Ding et al. 2024

Letters: B rows, T tokens, R rotated width of a head, P = R / 2 pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from danlu.model.shape import ModelConfig, RopeScaling

LENGTH_DECIDES = ("dynamic", "longrope")
"""Kinds whose frequencies depend on how long the text is."""


def tables(frequencies_P: Tensor, factor: float, positions_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Return cosines and sines [B, T, R] in float32, each pair's angle twice: Hugging Face's halves."""
    angles_BTP = positions_BT.unsqueeze(-1).float() * frequencies_P
    angles_BTR = torch.cat((angles_BTP, angles_BTP), dim=-1)
    return angles_BTR.cos() * factor, angles_BTR.sin() * factor


def frequencies(cfg: ModelConfig, length: int, windowed: bool = False) -> tuple[Tensor, float]:
    """Return (frequencies_P, factor of the tables) for texts of `length` tokens.

    Windowed layers may have a base of their own; those are never stretched.
    """
    if windowed and cfg.window_rope_theta is not None:
        return 1.0 / _powers(cfg, cfg.window_rope_theta), 1.0
    if cfg.rope_scaling is None:
        return _plain(cfg), 1.0
    return KINDS[cfg.rope_scaling.rope_type](cfg, cfg.rope_scaling, length)


def turning_point(cfg: ModelConfig) -> int | None:
    """Return the length beyond which a text is turned otherwise from its first token on (LongRoPE)."""
    scaling = cfg.rope_scaling
    longrope = scaling is not None and scaling.rope_type == "longrope"
    return scaling.original_max_position_embeddings if longrope and scaling else None


def _powers(cfg: ModelConfig, theta: float | None = None) -> Tensor:
    R = cfg.rotary_dim
    return (theta or cfg.rope_theta) ** (torch.arange(0, R, 2, dtype=torch.float32) / R)


def _plain(cfg: ModelConfig) -> Tensor:
    return 1.0 / _powers(cfg)


def _linear(cfg: ModelConfig, scaling: RopeScaling, length: int) -> tuple[Tensor, float]:
    assert scaling.factor
    return _plain(cfg) / scaling.factor, 1.0


def _dynamic(cfg: ModelConfig, scaling: RopeScaling, length: int) -> tuple[Tensor, float]:
    assert scaling.factor
    R, trained = cfg.rotary_dim, cfg.max_position_embeddings
    stretch = scaling.factor * max(length, trained) / trained - (scaling.factor - 1)
    return 1.0 / _powers(cfg, cfg.rope_theta * stretch ** (R / (R - 2))), 1.0


def _yarn(cfg: ModelConfig, scaling: RopeScaling, length: int) -> tuple[Tensor, float]:
    original = scaling.original_max_position_embeddings
    assert original
    R = cfg.rotary_dim
    factor = scaling.factor or cfg.max_position_embeddings / original

    def pair_turning(rotations: float) -> float:
        """Which pair turns so often over the original length."""
        return R * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(cfg.rope_theta))

    low, high = pair_turning(scaling.beta_fast or 32), pair_turning(scaling.beta_slow or 1)
    if scaling.truncate is not False:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, R - 1)
    ramp_P = (torch.arange(R // 2, dtype=torch.float32) - low) / max(high - low, 0.001)
    slow_P = ramp_P.clamp(0, 1)
    plain_P = _plain(cfg)
    return plain_P / factor * slow_P + plain_P * (1 - slow_P), _yarn_factor(scaling, factor)


def _yarn_factor(scaling: RopeScaling, factor: float) -> float:
    if scaling.attention_factor is not None:
        return scaling.attention_factor

    def slope(scale: float) -> float:
        return 0.1 * scale * math.log(factor) + 1.0 if factor > 1 else 1.0

    if scaling.mscale and scaling.mscale_all_dim:
        return slope(scaling.mscale) / slope(scaling.mscale_all_dim)
    return slope(1.0)


def _llama3(cfg: ModelConfig, scaling: RopeScaling, length: int) -> tuple[Tensor, float]:
    low, high, original = (
        scaling.low_freq_factor,
        scaling.high_freq_factor,
        scaling.original_max_position_embeddings,
    )
    assert low and high and original and scaling.factor
    plain_P = _plain(cfg)
    turns_P = original * plain_P / (2 * math.pi)
    kept_P = ((turns_P - low) / (high - low)).clamp(0, 1)
    return (1 - kept_P) * plain_P / scaling.factor + kept_P * plain_P, 1.0


def _longrope(cfg: ModelConfig, scaling: RopeScaling, length: int) -> tuple[Tensor, float]:
    original = scaling.original_max_position_embeddings
    assert original and scaling.long_factor and scaling.short_factor
    divisors = scaling.long_factor if length > original else scaling.short_factor
    factor = scaling.factor or cfg.max_position_embeddings / original
    attention = scaling.attention_factor
    if attention is None:
        attention = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    return 1.0 / (torch.tensor(divisors, dtype=torch.float32) * _powers(cfg)), attention


KINDS: dict[str, Callable[[ModelConfig, RopeScaling, int], tuple[Tensor, float]]] = {
    "linear": _linear,
    "dynamic": _dynamic,
    "yarn": _yarn,
    "llama3": _llama3,
    "longrope": _longrope,
}
