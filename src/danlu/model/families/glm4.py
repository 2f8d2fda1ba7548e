"""GLM-4: GLM that normalises what attention and the MLP answer."""

from __future__ import annotations

from typing import Any

from danlu.model.families import glm
from danlu.model.families.family import Family, Reason
from danlu.model.shape import ModelConfig


def why_not(cfg: ModelConfig) -> list[Reason]:
    reasons = glm.unlike_glm(cfg, "sandwich")
    if not cfg.sandwich:
        reasons.append(Reason("normalises what layers answer", "model.sandwich=true"))
    return reasons


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    return glm.from_hf(described) | {"sandwich": True}


FAMILY = Family(
    "glm4",
    "Glm4ForCausalLM",
    False,
    why_not,
    glm.to_hf,
    from_hf,
    renames=(
        (".attention_answer_layernorm.", ".post_self_attn_layernorm."),
        (".mlp_answer_layernorm.", ".post_mlp_layernorm."),
    ),
    fused=glm.fused,
)
