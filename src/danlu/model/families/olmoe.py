"""OLMoE: norms over all heads together, a softmax router that is not renormalised, experts everywhere."""

from __future__ import annotations

from typing import Any

from danlu.model.families.family import (
    Family,
    Reason,
    has_free_heads,
    moe_to_hf,
    shape_from_hf,
    shape_to_hf,
    unlike_llama,
)
from danlu.model.shape import ModelConfig

SHARED = ("num_experts", "num_local_experts", "num_experts_per_tok", "norm_topk_prob", "router_aux_loss_coef")


def why_not(cfg: ModelConfig) -> list[Reason]:
    moe = cfg.moe
    assert moe
    reasons = unlike_llama(cfg, "norm of all heads")
    if cfg.qk_norm != "all heads":
        reasons.append(Reason("has norms over all heads together", "model.qk_norm='all heads'"))
    if cfg.qkv_bias != cfg.output_bias or cfg.mlp_bias:
        remedy = "model.qkv_bias=false model.output_bias=false model.mlp_bias=false"
        reasons.append(Reason("has all of attention's biases or none", remedy))
    if moe.router != "softmax" or moe.routed_scaling_factor != 1.0:
        reasons.append(Reason("routes by softmax", "model.moe.router=softmax"))
    if moe.num_shared_experts or moe.first_dense_layers:
        remedy = "model.moe.num_shared_experts=0 model.moe.first_dense_layers=0"
        reasons.append(Reason("has routed experts alone, in every layer", remedy))
    if has_free_heads(cfg):
        reasons.append(Reason("has heads that add up to the width", "model.head_dim unset"))
    if cfg.partial_rotary_factor != 1.0:
        reasons.append(Reason("rotates whole heads", "model.partial_rotary_factor=1.0"))
    return reasons


def to_hf(cfg: ModelConfig) -> dict[str, Any]:
    assert cfg.moe
    moe = {key: value for key, value in moe_to_hf(cfg).items() if key in SHARED}
    width = {"intermediate_size": cfg.moe.moe_intermediate_size}  # its only MLP is the expert
    more = {"attention_bias": cfg.qkv_bias, "clip_qkv": None, "output_router_logits": False}
    return shape_to_hf(cfg) | moe | width | more


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    if described.get("clip_qkv") is not None:
        raise KeyError("clip_qkv (not known here, so null)")
    bias = described.get("attention_bias", False)
    moe = {
        "num_experts": described["num_experts"],
        "num_experts_per_tok": described["num_experts_per_tok"],
        "moe_intermediate_size": described["intermediate_size"],
        "norm_topk_prob": described.get("norm_topk_prob", False),
        "balance": "token",
        "balance_coef": described.get("router_aux_loss_coef", 0.01),
    }
    flags = {"qk_norm": "all heads", "qkv_bias": bias, "output_bias": bias}
    return shape_from_hf({"rms_norm_eps": 1e-5} | described) | flags | {"moe": moe}


FAMILY = Family("olmoe", "OlmoeForCausalLM", True, why_not, to_hf, from_hf)
