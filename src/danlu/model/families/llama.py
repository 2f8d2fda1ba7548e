"""Llama: no head norms; biases on all of attention, on the MLP, or on neither."""

from __future__ import annotations

from typing import Any

from danlu.model.families.family import (
    Family,
    shape_from_hf,
    shape_to_hf,
)
from danlu.model.families.rules import LLAMA, asks
from danlu.model.shape import ModelConfig


def to_hf(cfg: ModelConfig) -> dict[str, Any]:
    return shape_to_hf(cfg) | {"attention_bias": cfg.qkv_bias, "mlp_bias": cfg.mlp_bias, "pretraining_tp": 1}


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    bias = described.get("attention_bias", False)
    biases = {"qkv_bias": bias, "output_bias": bias, "mlp_bias": described.get("mlp_bias", False)}
    return shape_from_hf(described) | biases


FAMILY = Family(
    "llama",
    "LlamaForCausalLM",
    False,
    asks(
        "has no head norms",
        "has all of attention's biases or none",
        "wants heads that divide the width",
        "rotates whole heads",
        *LLAMA,
    ),
    to_hf,
    from_hf,
)
