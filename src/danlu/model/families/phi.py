"""Phi-2: LayerNorm, attention and a plain MLP side by side behind one norm, biases everywhere."""

from __future__ import annotations

from typing import Any

from danlu.model.families.family import Family, only, shape_from_hf, shape_to_hf
from danlu.model.families.rules import GPT, asks
from danlu.model.shape import ModelConfig


def to_hf(cfg: ModelConfig) -> dict[str, Any]:
    more = {"layer_norm_eps": cfg.norm_eps, "qk_layernorm": False, "resid_pdrop": 0.0, "embd_pdrop": 0.0}
    return shape_to_hf(cfg) | more | {"partial_rotary_factor": cfg.partial_rotary_factor}


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    only(described, qk_layernorm=False)
    described = {"partial_rotary_factor": 0.5} | described | {"rms_norm_eps": described["layer_norm_eps"]}
    flags = dict.fromkeys(("qkv_bias", "output_bias", "mlp_bias", "head_bias"), True)
    return shape_from_hf(described) | flags | {"norm": "layer", "gated": False, "parallel": "one norm"}


FAMILY = Family(
    "phi",
    "PhiForCausalLM",
    False,
    asks(
        "has gelu_tanh, not {cfg.activation}",
        "has the MLP beside attention, behind one norm",
        "has biases everywhere",
        *GPT,
        knows=("has the MLP after attention", "has no bias on scores"),
    ),
    to_hf,
    from_hf,
    renames=(
        (".self_attn.o_proj.", ".self_attn.dense."),
        (".mlp.up_proj.", ".mlp.fc1."),
        (".mlp.down_proj.", ".mlp.fc2."),
        ("model.norm.", "model.final_layernorm."),
        ("head_bias", "lm_head.bias"),
    ),
)
