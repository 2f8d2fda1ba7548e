"""Gemma 3 without pictures: Gemma 2 with head norms, and a base of its own in windowed layers."""

from __future__ import annotations

from typing import Any

from danlu.model.families import gemma2
from danlu.model.families.family import Family, only
from danlu.model.families.rules import asks
from danlu.model.shape import ModelConfig


def to_hf(cfg: ModelConfig) -> dict[str, Any]:
    keys = gemma2.to_hf(cfg)
    # Readers take the windowed base from a key of its own, so a common one is written twice.
    local = cfg.window_rope_theta or cfg.rope_theta
    by_kind = {
        "full_attention": keys["rope_parameters"],
        "sliding_attention": {"rope_type": "default", "rope_theta": local},
    }
    pattern = {"sliding_window_pattern": cfg.windowed.index(False) + 1} if _regular(cfg) else {}
    return keys | {"rope_parameters": by_kind, "rope_local_base_freq": local} | pattern


def _regular(cfg: ModelConfig) -> bool:
    """Whether every n-th layer is without windows, which is all that old readers know."""
    if False not in cfg.windowed:
        return False
    every = cfg.windowed.index(False) + 1
    return all(windowed == bool((layer + 1) % every) for layer, windowed in enumerate(cfg.windowed))


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    rope = described.get("rope_parameters") or {}
    local = described.get("rope_local_base_freq", 10000.0)
    if "full_attention" in rope:
        only(rope.get("sliding_attention", {}), rope_type="default")  # windows are never stretched
        local = rope.get("sliding_attention", {}).get("rope_theta", local)
        described = described | {"rope_parameters": rope["full_attention"]}
    layers, every = described["num_hidden_layers"], described.get("sliding_window_pattern", 6)
    kinds = described.get("layer_types") or [
        "sliding_attention" if (layer + 1) % every else "full_attention" for layer in range(layers)
    ]
    usual = {"attn_logit_softcapping": None, "final_logit_softcapping": None, "rope_theta": 1e6}
    keys = gemma2.from_hf(usual | described | {"layer_types": kinds})
    return keys | {"qk_norm": True, "window_rope_theta": float(local)}


FAMILY = Family(
    "gemma3_text",
    "Gemma3ForCausalLM",
    False,
    asks("has head norms", *gemma2.RULES, knows=(*gemma2.KNOWS, "has one base")),
    to_hf,
    from_hf,
    renames=gemma2.NORMS,
)
