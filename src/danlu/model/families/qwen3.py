"""Qwen3: head norms, no biases. What our dense presets leave as."""

from __future__ import annotations

from typing import Any

from danlu.model.families.family import (
    Family,
    shape_from_hf,
    shape_to_hf,
    windows_from_hf,
    windows_to_hf,
)
from danlu.model.families.rules import LLAMA, asks
from danlu.model.shape import ModelConfig

RULES = (
    "has head norms",
    "has all of attention's biases or none",
    "has no MLP biases",
    "rotates whole heads",
    *LLAMA,
)
KNOWS = ("has no windows",)


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


FAMILY = Family(
    "qwen3",
    "Qwen3ForCausalLM",
    False,
    asks("has windows in its last layers", *RULES, knows=KNOWS),
    to_hf,
    from_hf,
)
