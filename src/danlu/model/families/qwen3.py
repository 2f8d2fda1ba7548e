"""Qwen3: head norms, no biases. What our dense presets leave as."""

from __future__ import annotations

from typing import Any

from danlu.model.families.family import (
    PARTIAL,
    PARTIAL_REMEDY,
    Family,
    Reason,
    only_last_windowed,
    shape_from_hf,
    shape_to_hf,
    unlike_llama,
    windows_from_hf,
    windows_to_hf,
)
from danlu.model.shape import ModelConfig


def why_not(cfg: ModelConfig) -> list[Reason]:
    reasons = unlike_llama(cfg, "windows") + only_last_windowed(cfg)
    if not cfg.qk_norm:
        reasons.append(Reason("has head norms", "model.qk_norm=true"))
    if cfg.qkv_bias != cfg.output_bias:
        reasons.append(
            Reason("has all of attention's biases or none", "model.qkv_bias=false model.output_bias=false")
        )
    if cfg.mlp_bias:
        reasons.append(Reason("has no MLP biases", "model.mlp_bias=false"))
    if cfg.partial_rotary_factor != 1.0:
        reasons.append(Reason(PARTIAL, PARTIAL_REMEDY))
    return reasons


def to_hf(cfg: ModelConfig) -> dict[str, Any]:
    return shape_to_hf(cfg) | windows_to_hf(cfg) | {"attention_bias": cfg.qkv_bias}


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    bias = described.get("attention_bias", False)
    keys = (
        shape_from_hf(described)
        | windows_from_hf(described)
        | {"qk_norm": True, "qkv_bias": bias, "output_bias": bias}
    )
    return {"head_dim": 128} | keys  # the family's own default


FAMILY = Family("qwen3", "Qwen3ForCausalLM", False, why_not, to_hf, from_hf)
