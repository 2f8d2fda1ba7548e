"""DeepSeek-V2 and V2-Lite: V3's attention, a softmax router whose shares are not renormalised."""

from __future__ import annotations

from typing import Any

from danlu.model.families import deepseek_v3
from danlu.model.families.family import Family, only
from danlu.model.families.rules import asks
from danlu.model.shape import ModelConfig


def to_hf(cfg: ModelConfig) -> dict[str, Any]:
    assert cfg.moe
    method = "greedy" if cfg.moe.n_group == 1 else "group_limited_greedy"
    return deepseek_v3.to_hf(cfg) | {"topk_method": method}


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    only(described, norm_topk_prob=False, scoring_func="softmax")
    keys = deepseek_v3.from_hf(described)
    if described.get("topk_method", "greedy") == "greedy":
        keys["moe"] |= {"n_group": 1, "topk_group": 1}
    changed = {"router": "softmax", "norm_topk_prob": False, "balance": "sequence"}
    return keys | {"moe": keys["moe"] | changed}


FAMILY = Family(
    "deepseek_v2",
    "DeepseekV2ForCausalLM",
    True,
    asks(
        "routes by softmax",
        "leaves the shares of the chosen as they are",
        *deepseek_v3.RULES,
        knows=deepseek_v3.KNOWS,
    ),
    to_hf,
    from_hf,
    renames=((".shared_expert.", ".shared_experts."),),
    fused=deepseek_v3.fused,
)
