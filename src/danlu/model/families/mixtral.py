"""Mixtral: Llama's attention, a renormalised softmax router, every layer with experts."""

from __future__ import annotations

from typing import Any

from danlu.model.families.family import (
    PARTIAL,
    PARTIAL_REMEDY,
    Family,
    Reason,
    moe_to_hf,
    shape_from_hf,
    shape_to_hf,
    unlike_llama,
)
from danlu.model.shape import ModelConfig


def why_not(cfg: ModelConfig) -> list[Reason]:
    moe = cfg.moe
    assert moe
    reasons = unlike_llama(cfg, "windows")
    if cfg.qk_norm:
        reasons.append(Reason("has no head norms", "model.qk_norm=false"))
    if cfg.qkv_bias or cfg.output_bias or cfg.mlp_bias:
        reasons.append(
            Reason("has no biases", "model.qkv_bias=false model.output_bias=false model.mlp_bias=false")
        )
    if moe.router != "softmax" or not moe.norm_topk_prob or moe.routed_scaling_factor != 1.0:
        remedy = "model.moe.router=softmax model.moe.norm_topk_prob=true"
        reasons.append(Reason("routes by renormalised softmax", remedy))
    if moe.num_shared_experts:
        reasons.append(Reason("has no shared experts", "model.moe.num_shared_experts=0"))
    if moe.first_dense_layers:
        reasons.append(Reason("has experts in every layer", "model.moe.first_dense_layers=0"))
    if any(cfg.windowed) and not all(cfg.windowed):
        reasons.append(Reason("has windows in all layers or in none", "model.layer_types unset"))
    if cfg.partial_rotary_factor != 1.0:
        reasons.append(Reason(PARTIAL, PARTIAL_REMEDY))
    return reasons


def to_hf(cfg: ModelConfig) -> dict[str, Any]:
    assert cfg.moe
    shared = (
        "num_experts",
        "num_local_experts",
        "num_experts_per_tok",
        "output_router_logits",
        "router_aux_loss_coef",
    )
    moe = {key: value for key, value in moe_to_hf(cfg).items() if key in shared}
    width = {"intermediate_size": cfg.moe.moe_intermediate_size}  # its only MLP is the expert
    return shape_to_hf(cfg) | moe | width | {"sliding_window": cfg.sliding_window, "router_jitter_noise": 0.0}


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    moe = {
        "num_experts": described.get("num_local_experts", described.get("num_experts")),
        "num_experts_per_tok": described["num_experts_per_tok"],
        "moe_intermediate_size": described["intermediate_size"],
        "norm_topk_prob": True,
        "balance": "token",
        "balance_coef": described.get("router_aux_loss_coef", 0.001),
    }
    return shape_from_hf(described) | {"sliding_window": described.get("sliding_window"), "moe": moe}


FAMILY = Family(
    "mixtral",
    "MixtralForCausalLM",
    True,
    why_not,
    to_hf,
    from_hf,
    renames=((".mlp.", ".block_sparse_moe."),),
    experts=("w1", "w3", "w2"),
)
