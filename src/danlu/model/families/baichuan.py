"""Baichuan 1 and 2: Llama whose queries, keys and values lie in one matrix; read, never written.

7B     rotary positions; leaves as Llama
13B    slopes (ALiBi); no published class without remote code has Llama's layers with slopes, so it
       can be trained here and cannot leave
2      its head is divided by the length of each row, which is done once, while reading
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from danlu.model.families import llama
from danlu.model.families.family import Family, Fused, Part
from danlu.model.families.packed import attention_part
from danlu.model.shape import ModelConfig

SECOND = 125696
"""Words of Baichuan 2, which is how its readers tell it from the first."""


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    slopes = "max_position_embeddings" not in described
    length = described.get("max_position_embeddings") or described["model_max_length"]
    usual = {"max_position_embeddings": length, "hidden_act": "silu", "attention_bias": False}
    return llama.from_hf(usual | described) | {"position": "alibi" if slopes else "rotary"}


def fused(name: str, cfg: ModelConfig) -> list[Part]:
    found = attention_part(name)
    if found is None:
        return []
    layer, which, kind = found
    C = cfg.hidden_size
    lies = Fused((3 * C, C), (3, C, C), (), ("qkv".index(which),))
    return [Part(f"model.layers.{layer}.self_attn.W_pack.{kind}", fused=lies)]


def read(name: str, disk: Tensor, cfg: ModelConfig) -> Tensor:
    if name == "lm_head.weight" and cfg.vocab_size == SECOND:
        return torch.nn.functional.normalize(disk.float()).to(disk.dtype)
    return disk


FAMILY = Family(
    "baichuan",
    "BaichuanForCausalLM",
    False,
    llama.FAMILY.why_not,
    llama.to_hf,
    from_hf,
    fused=fused,
    leaves=False,
    read=read,
)
