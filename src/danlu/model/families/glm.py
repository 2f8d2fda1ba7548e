"""GLM: Llama with biases on queries, keys and values, gate and up in one matrix, neighbours turned together.

Rotary positions turn dimensions 2i and 2i + 1 of a head; ours turn i and i + half. The rows of queries
and keys are put in our order while reading, and back while writing.
"""

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
from danlu.model.families.packed import attention_part
from danlu.model.families.rules import LLAMA, asks
from danlu.model.shape import ModelConfig

RULES = ("has no head norms", "has biases on queries, keys and values alone", *LLAMA)


def to_hf(cfg: ModelConfig) -> dict[str, Any]:
    shape = shape_to_hf(cfg)
    shape["rope_parameters"] |= {"partial_rotary_factor": cfg.partial_rotary_factor}
    more = {"partial_rotary_factor": cfg.partial_rotary_factor, "attention_bias": cfg.qkv_bias}
    return shape | more | {"pad_token_id": None}


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    usual = {"partial_rotary_factor": 0.5, "head_dim": 128}
    return shape_from_hf(usual | described) | {"qkv_bias": described.get("attention_bias", True)}


def fused(name: str, cfg: ModelConfig) -> list[Part]:
    found = attention_part(name)
    if found is not None and found[1] in "qk":
        return _turned(name, cfg, found[1], found[2])
    match = re.fullmatch(r"(model\.layers\.\d+\.mlp\.)(gate|up)_proj\.weight", name)
    if match is None:
        return []
    width = cfg.intermediate_size
    start = 0 if match[2] == "gate" else width
    lies = Fused((2 * width, cfg.hidden_size), inside=(slice(start, start + width),))
    return [Part(f"{match[1]}gate_up_proj.weight", fused=lies)]


def _turned(name: str, cfg: ModelConfig, which: str, kind: str) -> list[Part]:
    """Return the turned dimensions of each head, neighbours set apart, and the others as they are."""
    heads = cfg.num_attention_heads if which == "q" else cfg.num_key_value_heads
    D, R, every = cfg.head_dim, cfg.rotary_dim, slice(None)
    tail = (cfg.hidden_size,) if kind == "weight" else ()
    shape, form = (heads * D, *tail), (heads, D, *tail)
    turned, rest = (every, slice(0, R)), (every, slice(R, D))
    axes = (0, 2, 1, 3) if tail else (0, 2, 1)
    pairs = Fused(shape, (heads, D // 2, 2, *tail), axes, (every, every, slice(0, R // 2)))
    parts = [Part(name, turned, fused=pairs, form=form)]
    if R < D:
        parts.append(Part(name, rest, fused=Fused(shape, form, (), rest), form=form))
    return parts


FAMILY = Family("glm", "GlmForCausalLM", False, asks(*RULES), to_hf, from_hf, fused=fused)
