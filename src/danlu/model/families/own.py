"""Our own layout, for a model that may stay: no published architecture is like it, so it never leaves.

Weights lie under our own names, experts stacked as in memory, and config.json says what the model is in
the section `danlu` alone. No other program knows this model_type, so each refuses the folder aloud rather
than reading it as something it is not. The chooser does not know it either: nothing is exported as this.
"""

from __future__ import annotations

from typing import Any

from danlu.model.families.family import Family, Part
from danlu.model.families.rules import Reason
from danlu.model.shape import ModelConfig


def why_not(cfg: ModelConfig) -> list[Reason]:
    return []


def to_hf(cfg: ModelConfig) -> dict[str, Any]:
    return {}


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    ours: dict[str, Any] = described["danlu"]
    return ours


def fused(name: str, cfg: ModelConfig) -> list[Part]:
    return [Part(name)]


FAMILY = Family("danlu", "DanluForTraining", False, why_not, to_hf, from_hf, fused=fused, leaves=False)
