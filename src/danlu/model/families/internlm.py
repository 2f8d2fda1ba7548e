"""InternLM: Llama with all of attention's biases, and a section of its own for positions; leaves as Llama."""

from __future__ import annotations

from typing import Any

from danlu.model.families import llama
from danlu.model.families.family import Family


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    rotary = described.get("rotary") or {"type": "origin"}
    spelt = {"rope_theta": rotary.get("base", 10000.0), "attention_bias": described.get("bias", True)}
    if rotary["type"] == "dynamic":
        spelt["rope_scaling"] = {"rope_type": "dynamic", "factor": rotary.get("scaling_factor", 1.0)}
    return llama.from_hf(described | spelt)


FAMILY = Family(
    "internlm", "InternLMForCausalLM", False, llama.FAMILY.why_not, llama.to_hf, from_hf, leaves=False
)
