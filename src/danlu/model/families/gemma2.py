"""Gemma 2: Gemma with four norms a layer, capped scores, and windows in every other layer."""

from __future__ import annotations

from typing import Any

from danlu.model.families import gemma
from danlu.model.families.family import Family, layer_types
from danlu.model.families.rules import asks
from danlu.model.shape import ModelConfig

NORMS = (
    (".post_attention_layernorm.", ".pre_feedforward_layernorm."),
    (".attention_answer_layernorm.", ".post_attention_layernorm."),
    (".mlp_answer_layernorm.", ".post_feedforward_layernorm."),
)
"""Here the name of the norm before the MLP is given to the one after attention."""


RULES = (*gemma.RULES, "normalises what layers answer")
KNOWS = (
    *gemma.KNOWS,
    "has no windows",
    "scales scores by the heads' width",
    "caps no scores",
    "does not normalise what layers answer",
)


def to_hf(cfg: ModelConfig) -> dict[str, Any]:
    return gemma.to_hf(cfg) | {
        "query_pre_attn_scalar": query_scalar(cfg),
        "attn_logit_softcapping": cfg.attention_softcap,
        "final_logit_softcapping": cfg.logit_softcap,
        "sliding_window": cfg.sliding_window or cfg.max_position_embeddings,
        "layer_types": layer_types(cfg),
    }


def query_scalar(cfg: ModelConfig) -> float:
    """Return what attention is scaled by the root of."""
    scalar = (cfg.attention_scale or cfg.head_dim**-0.5) ** -2
    return round(scalar) if abs(scalar - round(scalar)) < 1e-9 * scalar else scalar


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    layers = described["num_hidden_layers"]
    every_other = ["full_attention" if layer % 2 else "sliding_attention" for layer in range(layers)]
    return gemma.from_hf(described) | {
        "attention_scale": described.get("query_pre_attn_scalar", 256) ** -0.5,
        "attention_softcap": described.get("attn_logit_softcapping", 50.0),
        "logit_softcap": described.get("final_logit_softcapping", 30.0),
        "sliding_window": described.get("sliding_window", 4096),
        "layer_types": tuple(described.get("layer_types") or every_other),
        "sandwich": True,
    }


FAMILY = Family(
    "gemma2",
    "Gemma2ForCausalLM",
    False,
    asks("has no head norms", *RULES, knows=KNOWS),
    to_hf,
    from_hf,
    renames=NORMS,
)
