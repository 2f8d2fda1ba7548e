"""Qwen3-MoE: head norms, a softmax router, no shared expert. What our `-moe` presets leave as."""

from __future__ import annotations

from typing import Any

from danlu.model.families import qwen3
from danlu.model.families.family import Family, Reason, moe_from_hf, moe_to_hf
from danlu.model.shape import ModelConfig


def why_not(cfg: ModelConfig) -> list[Reason]:
    assert cfg.moe
    reasons = qwen3.why_not(cfg)
    if cfg.moe.router != "softmax":
        reasons.append(Reason("routes by softmax", "model.moe.router=softmax"))
    if cfg.moe.num_shared_experts:
        reasons.append(Reason("has no shared experts", "model.moe.num_shared_experts=0"))
    if cfg.moe.routed_scaling_factor != 1.0:
        reasons.append(Reason("does not scale what experts answer", "model.moe.routed_scaling_factor=1.0"))
    return reasons


def to_hf(cfg: ModelConfig) -> dict[str, Any]:
    return qwen3.to_hf(cfg) | moe_to_hf(cfg)


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    keys = qwen3.from_hf(described)
    if not described.get("head_dim"):
        keys["head_dim"] = keys["hidden_size"] // keys["num_attention_heads"]
    return keys | {"moe": moe_from_hf(described)}


FAMILY = Family("qwen3_moe", "Qwen3MoeForCausalLM", True, why_not, to_hf, from_hf)
