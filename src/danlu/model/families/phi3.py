"""Phi-3 and Phi-4: Llama whose queries, keys and values lie in one matrix, gate and up in another."""

from __future__ import annotations

import re
from typing import Any

from danlu.model.families.family import (
    Family,
    Fused,
    Part,
    shape_from_hf,
    shape_to_hf,
)
from danlu.model.families.rules import LLAMA, asks
from danlu.model.shape import ModelConfig


def to_hf(cfg: ModelConfig) -> dict[str, Any]:
    shape = shape_to_hf(cfg)
    scaling = cfg.rope_scaling
    original = scaling and scaling.original_max_position_embeddings
    return shape | {
        "sliding_window": cfg.sliding_window if any(cfg.windowed) else None,
        "partial_rotary_factor": cfg.partial_rotary_factor,
        "original_max_position_embeddings": original or cfg.max_position_embeddings,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "pad_token_id": None,  # its default lies outside a small vocabulary
    }


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    keys = shape_from_hf(described) | {"sliding_window": described.get("sliding_window")}
    if keys.get("rope_scaling"):
        keys["rope_scaling"] |= {"rope_type": "longrope"}  # "su" or "yarn" in its first files
    return keys


def fused(name: str, cfg: ModelConfig) -> list[Part]:
    C, width = cfg.hidden_size, cfg.intermediate_size
    query, key = (heads * cfg.head_dim for heads in (cfg.num_attention_heads, cfg.num_key_value_heads))
    runs = {
        "self_attn.q_proj": ("self_attn.qkv_proj", 0, query, query + 2 * key),
        "self_attn.k_proj": ("self_attn.qkv_proj", query, query + key, query + 2 * key),
        "self_attn.v_proj": ("self_attn.qkv_proj", query + key, query + 2 * key, query + 2 * key),
        "mlp.gate_proj": ("mlp.gate_up_proj", 0, width, 2 * width),
        "mlp.up_proj": ("mlp.gate_up_proj", width, 2 * width, 2 * width),
    }
    match = re.fullmatch(r"(model\.layers\.\d+\.)(.+)\.weight", name)
    if match is None or match[2] not in runs:
        return []
    whole, start, stop, rows = runs[match[2]]
    return [Part(f"{match[1]}{whole}.weight", fused=Fused((rows, C), inside=(slice(start, stop),)))]


FAMILY = Family(
    "phi3",
    "Phi3ForCausalLM",
    False,
    asks(
        "has no head norms",
        "has no biases",
        "has heads that add up to the width",
        "has windows in all layers or in none",
        "stretches positions by longrope alone",
        *LLAMA,
        knows=("has no windows",),
    ),
    to_hf,
    from_hf,
    fused=fused,
)
