"""DeepSeek-V2 and V2-Lite: V3's attention, a softmax router whose shares are not renormalised."""

from __future__ import annotations

from typing import Any

from danlu.model.families import deepseek_v3
from danlu.model.families.family import Family, Reason
from danlu.model.shape import ModelConfig


def why_not(cfg: ModelConfig) -> list[Reason]:
    assert cfg.moe
    reasons = deepseek_v3.unlike_deepseek(cfg)
    if cfg.moe.router != "softmax" or cfg.moe.norm_topk_prob:
        remedy = "model.moe.router=softmax model.moe.norm_topk_prob=false"
        reasons.append(Reason("routes by softmax as it is", remedy))
    return reasons


def to_hf(cfg: ModelConfig) -> dict[str, Any]:
    assert cfg.moe
    method = "greedy" if cfg.moe.n_group == 1 else "group_limited_greedy"
    return deepseek_v3.to_hf(cfg) | {"topk_method": method}


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    keys = deepseek_v3.from_hf(described)
    if described.get("topk_method", "greedy") == "greedy":
        keys["moe"] |= {"n_group": 1, "topk_group": 1}
    changed = {"router": "softmax", "norm_topk_prob": False, "balance": "sequence"}
    return keys | {"moe": keys["moe"] | changed}


FAMILY = Family(
    "deepseek_v2",
    "DeepseekV2ForCausalLM",
    True,
    why_not,
    to_hf,
    from_hf,
    renames=((".shared_expert.", ".shared_experts."),),
    fused=deepseek_v3.fused,
)
