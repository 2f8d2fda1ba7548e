"""DeepSeek (the first MoE): Llama's attention, softmax shares as they are, shared experts without a gate.

transformers has no class for it without remote code; it leaves as Qwen2-MoE, whose gate can be zero.
"""

from __future__ import annotations

from typing import Any

from danlu.model.families import qwen2_moe
from danlu.model.families.family import Family, only, shape_from_hf


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    only(described, moe_layer_freq=1, scoring_func="softmax")
    moe = {
        "num_experts": described["n_routed_experts"],
        "num_experts_per_tok": described["num_experts_per_tok"],
        "moe_intermediate_size": described["moe_intermediate_size"],
        # One expert alone keeps its own share, even where shares are told to add up to one.
        "norm_topk_prob": described.get("norm_topk_prob", False) and described["num_experts_per_tok"] > 1,
        "num_shared_experts": described.get("n_shared_experts") or 0,
        "first_dense_layers": described.get("first_k_dense_replace", 0),
        "balance_coef": described.get("aux_loss_alpha", 0.001),
    }
    bias = described.get("attention_bias", False)
    return shape_from_hf(described) | {"qkv_bias": bias, "output_bias": bias, "moe": moe}


FAMILY = Family(
    "deepseek",
    "DeepseekForCausalLM",
    True,
    qwen2_moe.FAMILY.why_not,
    qwen2_moe.to_hf,
    from_hf,
    renames=((".shared_expert.", ".shared_experts."),),
    leaves=False,
)
