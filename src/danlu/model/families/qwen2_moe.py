"""Qwen2-MoE: no head norms, biases on queries, keys and values, a shared expert behind a sigmoid gate.

A shared expert without a gate leaves as one whose gate is zero: sigmoid(0) is one half, so its last
matrix is written doubled, which rounds nothing. Biases we do not have are written as zeros.
"""

from __future__ import annotations

from typing import Any

from danlu.model.families.family import (
    PARTIAL,
    PARTIAL_REMEDY,
    Family,
    Reason,
    has_free_heads,
    moe_from_hf,
    moe_to_hf,
    only_last_windowed,
    shape_from_hf,
    shape_to_hf,
    unlike_llama,
    windows_from_hf,
    windows_to_hf,
)
from danlu.model.shape import ModelConfig


def why_not(cfg: ModelConfig) -> list[Reason]:
    moe = cfg.moe
    assert moe
    reasons = unlike_llama(cfg, "windows") + only_last_windowed(cfg)
    if cfg.qk_norm:
        reasons.append(Reason("has no head norms", "model.qk_norm=false"))
    if cfg.output_bias or cfg.mlp_bias:
        remedy = "model.output_bias=false model.mlp_bias=false"
        reasons.append(Reason("has biases on queries, keys and values alone", remedy))
    if moe.router != "softmax":
        reasons.append(Reason("routes by softmax", "model.moe.router=softmax"))
    if not moe.num_shared_experts:
        reasons.append(Reason("has a shared expert", "model.moe.num_shared_experts=1"))
    if moe.routed_scaling_factor != 1.0:
        reasons.append(Reason("does not scale what experts answer", "model.moe.routed_scaling_factor=1.0"))
    if has_free_heads(cfg):
        reasons.append(Reason("has heads that add up to the width", "model.head_dim unset"))
    if cfg.partial_rotary_factor != 1.0:
        reasons.append(Reason(PARTIAL, PARTIAL_REMEDY))
    return reasons


def to_hf(cfg: ModelConfig) -> dict[str, Any]:
    assert cfg.moe
    shared = {"shared_expert_intermediate_size": cfg.moe.shared_width, "qkv_bias": True}
    return shape_to_hf(cfg) | moe_to_hf(cfg) | shared | windows_to_hf(cfg)


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    shared = {
        "num_shared_experts": 1,
        "shared_intermediate_size": described["shared_expert_intermediate_size"],
        "shared_gated": True,
    }
    moe = moe_from_hf(described) | shared
    keys = shape_from_hf(described) | windows_from_hf(described)
    return keys | {"qkv_bias": described.get("qkv_bias", True), "moe": moe}


def zeros(cfg: ModelConfig) -> dict[str, tuple[int, ...]]:
    assert cfg.moe
    query, key = (heads * cfg.head_dim for heads in (cfg.num_attention_heads, cfg.num_key_value_heads))
    names: dict[str, tuple[int, ...]] = {}
    for layer in range(cfg.num_hidden_layers):
        own = f"model.layers.{layer}"
        if not cfg.qkv_bias:
            names |= {f"{own}.self_attn.{letter}_proj.bias": (key,) for letter in "kv"}
            names[f"{own}.self_attn.q_proj.bias"] = (query,)
        if not cfg.moe.shared_gated and cfg.is_moe_layer(layer):
            names[f"{own}.mlp.shared_expert_gate.weight"] = (1, cfg.hidden_size)
    return names


def doubled(cfg: ModelConfig) -> str:
    assert cfg.moe
    return "" if cfg.moe.shared_gated else ".shared_expert.down_proj."


FAMILY = Family(
    "qwen2_moe", "Qwen2MoeForCausalLM", True, why_not, to_hf, from_hf, doubled=doubled, zeros=zeros
)
