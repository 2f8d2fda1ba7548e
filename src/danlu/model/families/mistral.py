"""Mistral: Llama without any bias, with heads of any width, and windows in all layers or in none."""

from __future__ import annotations

from typing import Any

from danlu.model.families.family import (
    PARTIAL,
    PARTIAL_REMEDY,
    Family,
    Reason,
    shape_from_hf,
    shape_to_hf,
    unlike_llama,
)
from danlu.model.shape import ModelConfig


def why_not(cfg: ModelConfig) -> list[Reason]:
    reasons = unlike_llama(cfg, "windows")
    if cfg.qk_norm:
        reasons.append(Reason("has no head norms", "model.qk_norm=false"))
    if cfg.qkv_bias or cfg.output_bias or cfg.mlp_bias:
        remedy = "model.qkv_bias=false model.output_bias=false model.mlp_bias=false"
        reasons.append(Reason("has no biases", remedy))
    if any(cfg.windowed) and not all(cfg.windowed):
        reasons.append(Reason("has windows in all layers or in none", "model.layer_types unset"))
    if cfg.partial_rotary_factor != 1.0:
        reasons.append(Reason(PARTIAL, PARTIAL_REMEDY))
    return reasons


def to_hf(cfg: ModelConfig) -> dict[str, Any]:
    return shape_to_hf(cfg) | {"sliding_window": cfg.sliding_window if any(cfg.windowed) else None}


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    return shape_from_hf(described) | {"sliding_window": described.get("sliding_window")}


FAMILY = Family("mistral", "MistralForCausalLM", False, why_not, to_hf, from_hf)
