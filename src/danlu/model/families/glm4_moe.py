"""GLM-4-MoE: a sigmoid router with a balancing bias, shared experts without a gate, leading dense layers."""

from __future__ import annotations

from typing import Any

from danlu.model.families import deepseek_v3
from danlu.model.families.family import Family, shape_from_hf, shape_to_hf
from danlu.model.families.rules import LLAMA, asks
from danlu.model.shape import ModelConfig


def to_hf(cfg: ModelConfig) -> dict[str, Any]:
    moe = cfg.moe
    assert moe
    shape = shape_to_hf(cfg)
    shape["rope_parameters"] |= {
        "partial_rotary_factor": cfg.partial_rotary_factor
    }  # its own default is one half
    return shape | {
        "partial_rotary_factor": cfg.partial_rotary_factor,
        "attention_bias": cfg.qkv_bias,
        "use_qk_norm": cfg.qk_norm,
        "moe_intermediate_size": moe.moe_intermediate_size,
        "num_experts_per_tok": moe.num_experts_per_tok,
        "n_routed_experts": moe.num_experts,
        "n_shared_experts": moe.num_shared_experts,
        "num_experts": moe.num_experts,
        "num_local_experts": moe.num_experts,
        "norm_topk_prob": moe.norm_topk_prob,
        "routed_scaling_factor": moe.routed_scaling_factor,
        "n_group": moe.n_group,
        "topk_group": moe.topk_group,
        "first_k_dense_replace": moe.first_dense_layers,
        "num_nextn_predict_layers": 0,
    }


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    described = {"partial_rotary_factor": 0.5} | described
    moe = {
        "num_experts": described["n_routed_experts"],
        "num_experts_per_tok": described["num_experts_per_tok"],
        "moe_intermediate_size": described["moe_intermediate_size"],
        "router": "sigmoid",
        "norm_topk_prob": described.get("norm_topk_prob", True),
        "routed_scaling_factor": float(described.get("routed_scaling_factor", 1.0)),
        "n_group": described.get("n_group") or 1,
        "topk_group": described.get("topk_group") or 1,
        "num_shared_experts": described["n_shared_experts"],
        "first_dense_layers": described.get("first_k_dense_replace", 1),
        "balance": "bias",
    }
    flags = {
        "qk_norm": described.get("use_qk_norm", False),
        "qkv_bias": described.get("attention_bias", False),
    }
    return shape_from_hf(described) | flags | {"moe": moe}


FAMILY = Family(
    "glm4_moe",
    "Glm4MoeForCausalLM",
    True,
    asks(
        "has biases on queries, keys and values alone",
        "routes by sigmoid",
        "has shared experts without a gate",
        "has shared experts as wide as the routed",
        *LLAMA,
        knows=("has experts in one group",),
    ),
    to_hf,
    from_hf,
    renames=((".shared_expert.", ".shared_experts."),),
    left_out=deepseek_v3.left_out,
)
