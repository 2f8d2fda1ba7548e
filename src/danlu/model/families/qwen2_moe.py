"""Qwen2-MoE: no head norms, biases on queries, keys and values, a shared expert behind a sigmoid gate.

A shared expert without a gate leaves as one whose gate is zero: sigmoid(0) is one half, so its last
matrix is written doubled, which rounds nothing. Biases we do not have are written as zeros.
"""

from __future__ import annotations

from typing import Any

from danlu.model.families.family import (
    Family,
    moe_from_hf,
    moe_to_hf,
    shape_from_hf,
    shape_to_hf,
    windows_from_hf,
    windows_to_hf,
)
from danlu.model.families.rules import LLAMA, asks
from danlu.model.shape import ModelConfig


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
    "qwen2_moe",
    "Qwen2MoeForCausalLM",
    True,
    asks(
        "has no head norms",
        "has biases on queries, keys and values alone",
        "has heads that add up to the width",
        "rotates whole heads",
        "has windows in all layers or in none",
        "routes by softmax",
        "has a shared expert",
        "does not scale what experts answer",
        *LLAMA,
        knows=("has no windows",),
    ),
    to_hf,
    from_hf,
    doubled=doubled,
    zeros=zeros,
)
