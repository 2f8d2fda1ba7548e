"""Mixtral: Llama's attention, a renormalised softmax router, every layer with experts."""

from __future__ import annotations

from typing import Any

from danlu.model.families.family import (
    Family,
    moe_to_hf,
    shape_from_hf,
    shape_to_hf,
)
from danlu.model.families.rules import LLAMA, asks
from danlu.model.shape import ModelConfig


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
    asks(
        "has no head norms",
        "has no biases",
        "rotates whole heads",
        "has windows in all layers or in none",
        "routes by softmax",
        "lets the shares of the chosen add up to one",
        "does not scale what experts answer",
        "has no shared experts",
        "has experts in every layer",
        *LLAMA,
        knows=("has no windows",),
    ),
    to_hf,
    from_hf,
    renames=((".mlp.", ".block_sparse_moe."),),
    experts=("w1", "w3", "w2"),
)
