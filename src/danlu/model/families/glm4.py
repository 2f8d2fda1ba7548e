"""GLM-4: GLM that normalises what attention and the MLP answer."""

from __future__ import annotations

from typing import Any

from danlu.model.families import glm
from danlu.model.families.family import Family
from danlu.model.families.rules import asks


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    return glm.from_hf(described) | {"sandwich": True}


FAMILY = Family(
    "glm4",
    "Glm4ForCausalLM",
    False,
    asks(*glm.RULES, "normalises what layers answer", knows=("does not normalise what layers answer",)),
    glm.to_hf,
    from_hf,
    renames=(
        (".attention_answer_layernorm.", ".post_self_attn_layernorm."),
        (".mlp_answer_layernorm.", ".post_mlp_layernorm."),
    ),
    fused=glm.fused,
)
