"""InternLM: Llama with all of attention's biases; read, and written as Llama."""

from __future__ import annotations

from typing import Any

from danlu.model.families import llama
from danlu.model.families.family import Family


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    return llama.from_hf(described | {"attention_bias": described.get("bias", True)})


FAMILY = Family(
    "internlm", "InternLMForCausalLM", False, llama.FAMILY.why_not, llama.to_hf, from_hf, leaves=False
)
