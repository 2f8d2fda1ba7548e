"""Llama: no head norms; biases on all of attention, on the MLP, or on neither."""

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
    reasons = unlike_llama(cfg)
    if cfg.qk_norm:
        reasons.append(Reason("has no head norms", "model.qk_norm=false"))
    if cfg.qkv_bias != cfg.output_bias:
        reasons.append(
            Reason("has all of attention's biases or none", "model.output_bias=" + _word(cfg.qkv_bias))
        )
    if cfg.hidden_size % cfg.num_attention_heads:
        reasons.append(Reason("wants heads that divide the width", "another model.num_attention_heads"))
    if cfg.partial_rotary_factor != 1.0:
        reasons.append(Reason(PARTIAL, PARTIAL_REMEDY))
    return reasons


def _word(flag: bool) -> str:
    return "true" if flag else "false"


def to_hf(cfg: ModelConfig) -> dict[str, Any]:
    return shape_to_hf(cfg) | {"attention_bias": cfg.qkv_bias, "mlp_bias": cfg.mlp_bias, "pretraining_tp": 1}


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    bias = described.get("attention_bias", False)
    biases = {"qkv_bias": bias, "output_bias": bias, "mlp_bias": described.get("mlp_bias", False)}
    return shape_from_hf(described) | biases


FAMILY = Family("llama", "LlamaForCausalLM", False, why_not, to_hf, from_hf)
