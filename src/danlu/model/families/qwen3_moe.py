"""Qwen3-MoE: head norms, a softmax router, no shared expert. What our `-moe` presets leave as."""

from __future__ import annotations

from typing import Any

from danlu.model.families import qwen3
from danlu.model.families.family import Family, moe_from_hf, moe_to_hf
from danlu.model.families.rules import asks
from danlu.model.shape import ModelConfig


def to_hf(cfg: ModelConfig) -> dict[str, Any]:
    return qwen3.to_hf(cfg) | moe_to_hf(cfg)


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    keys = qwen3.from_hf(described)
    if not described.get("head_dim"):
        keys["head_dim"] = keys["hidden_size"] // keys["num_attention_heads"]
    keys.pop("layer_types", None)  # its windows, where there are any, are in every layer
    return keys | {"moe": moe_from_hf(described)}


FAMILY = Family(
    "qwen3_moe",
    "Qwen3MoeForCausalLM",
    True,
    asks(
        *qwen3.RULES,
        "has windows in all layers or in none",
        "routes by softmax",
        "has no shared experts",
        "does not scale what experts answer",
        knows=qwen3.KNOWS,
    ),
    to_hf,
    from_hf,
)
