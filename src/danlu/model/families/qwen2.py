"""Qwen2: biases on queries, keys and values, and nowhere else."""

from __future__ import annotations

from typing import Any

from danlu.model.families.family import (
    Family,
    shape_from_hf,
    shape_to_hf,
    windows_from_hf,
    windows_to_hf,
)
from danlu.model.families.rules import LLAMA, asks
from danlu.model.shape import ModelConfig


def to_hf(cfg: ModelConfig) -> dict[str, Any]:
    return shape_to_hf(cfg) | windows_to_hf(cfg)


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    return shape_from_hf(described) | windows_from_hf(described) | {"qkv_bias": True}


FAMILY = Family(
    "qwen2",
    "Qwen2ForCausalLM",
    False,
    asks(
        "has no head norms",
        "has biases on queries, keys and values",
        "has biases on queries, keys and values alone",
        "has heads that add up to the width",
        "rotates whole heads",
        "has windows in its last layers",
        *LLAMA,
        knows=("has no windows",),
    ),
    to_hf,
    from_hf,
)
