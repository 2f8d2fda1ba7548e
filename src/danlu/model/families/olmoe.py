"""OLMoE: norms over all heads together, a softmax router that is not renormalised, experts everywhere."""

from __future__ import annotations

from typing import Any

from danlu.model.families.family import (
    Family,
    moe_to_hf,
    only,
    shape_from_hf,
    shape_to_hf,
)
from danlu.model.families.rules import LLAMA, asks
from danlu.model.shape import ModelConfig

SHARED = ("num_experts", "num_local_experts", "num_experts_per_tok", "norm_topk_prob", "router_aux_loss_coef")


def to_hf(cfg: ModelConfig) -> dict[str, Any]:
    assert cfg.moe
    moe = {key: value for key, value in moe_to_hf(cfg).items() if key in SHARED}
    width = {"intermediate_size": cfg.moe.moe_intermediate_size}  # its only MLP is the expert
    more = {"attention_bias": cfg.qkv_bias, "clip_qkv": None, "output_router_logits": False}
    return shape_to_hf(cfg) | moe | width | more


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    only(described, clip_qkv=None)
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


FAMILY = Family(
    "olmoe",
    "OlmoeForCausalLM",
    True,
    asks(
        "has norms over all heads together",
        "has all of attention's biases or none",
        "has no MLP biases",
        "has heads that add up to the width",
        "rotates whole heads",
        "routes by softmax",
        "does not scale what experts answer",
        "has no shared experts",
        "has experts in every layer",
        *LLAMA,
        knows=("has no norm over all heads",),
    ),
    to_hf,
    from_hf,
)
