"""Qwen2: biases on queries, keys and values, and nowhere else."""

from __future__ import annotations

from typing import Any

from danlu.model.families.family import (
    PARTIAL,
    PARTIAL_REMEDY,
    Family,
    Reason,
    has_free_heads,
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
    if cfg.qk_norm:
        reasons.append(Reason("has no head norms", "model.qk_norm=false"))
    if not cfg.qkv_bias or cfg.output_bias or cfg.mlp_bias:
        remedy = "model.qkv_bias=true model.output_bias=false model.mlp_bias=false"
        reasons.append(Reason("has biases on queries, keys and values alone", remedy))
    if has_free_heads(cfg):
        reasons.append(Reason("has heads that add up to the width", "model.head_dim unset"))
    if cfg.partial_rotary_factor != 1.0:
        reasons.append(Reason(PARTIAL, PARTIAL_REMEDY))
    return reasons


def to_hf(cfg: ModelConfig) -> dict[str, Any]:
    return shape_to_hf(cfg) | windows_to_hf(cfg)


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    return shape_from_hf(described) | windows_from_hf(described) | {"qkv_bias": True}


FAMILY = Family("qwen2", "Qwen2ForCausalLM", False, why_not, to_hf, from_hf)
