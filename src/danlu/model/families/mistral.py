"""Mistral: Llama without any bias, with heads of any width, and windows in all layers or in none."""

from __future__ import annotations

from typing import Any

from danlu.model.families.family import (
    Family,
    shape_from_hf,
    shape_to_hf,
)
from danlu.model.families.rules import LLAMA, asks
from danlu.model.shape import ModelConfig


def to_hf(cfg: ModelConfig) -> dict[str, Any]:
    return shape_to_hf(cfg) | {"sliding_window": cfg.sliding_window if any(cfg.windowed) else None}


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    return shape_from_hf(described) | {"sliding_window": described.get("sliding_window")}


FAMILY = Family(
    "mistral",
    "MistralForCausalLM",
    False,
    asks(
        "has no head norms",
        "has no biases",
        "rotates whole heads",
        "has windows in all layers or in none",
        *LLAMA,
        knows=("has no windows",),
    ),
    to_hf,
    from_hf,
)
