"""Gemma: embeddings scaled by the root of the width, norms that count from one, a GELU gate."""

from __future__ import annotations

from typing import Any

from danlu.model.families.family import (
    FROM_HF,
    Family,
    only,
    shape_from_hf,
    shape_to_hf,
)
from danlu.model.families.rules import asks
from danlu.model.shape import ModelConfig

RULES = (
    "has gelu_tanh, not {cfg.activation}",
    "scales embeddings by the root of the width",
    "has norms that count from one",
    "has all of attention's biases or none",
    "has no MLP biases",
    "rotates whole heads",
    "has RMSNorm, not LayerNorm",
    "has a gated MLP",
)
KNOWS = ("does not scale embeddings", "has norms that scale by their weight")


def to_hf(cfg: ModelConfig) -> dict[str, Any]:
    shape = shape_to_hf(cfg)
    return shape | {"hidden_activation": shape["hidden_act"], "attention_bias": cfg.qkv_bias}


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    only(described, use_bidirectional_attention=False)
    # Its first files say "gelu" and mean the approximation, as everybody computes it.
    activation = described.get("hidden_activation") or "gelu_pytorch_tanh"
    bias = described.get("attention_bias", False)
    usual = {"head_dim": 256, "tie_word_embeddings": True, "hidden_act": activation}
    return shape_from_hf(usual | described | {"hidden_act": activation}) | {
        "activation": FROM_HF.get(activation, activation),
        "embedding_scale": described["hidden_size"] ** 0.5,
        "norm_offset": True,
        "qkv_bias": bias,
        "output_bias": bias,
    }


FAMILY = Family(
    "gemma", "GemmaForCausalLM", False, asks("has no head norms", *RULES, knows=KNOWS), to_hf, from_hf
)
