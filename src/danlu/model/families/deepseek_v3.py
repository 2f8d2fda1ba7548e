"""DeepSeek-V3: latent attention, a sigmoid router limited to groups, shared experts, leading dense layers.

On disk neighbours are turned together; ours turns halves. The rows concerned are put in our order while
reading, and back while writing.
"""

from __future__ import annotations

import re
from typing import Any

from danlu.model.families.family import Family, Fused, Part, only, shape_from_hf, shape_to_hf
from danlu.model.families.rules import LLAMA, asks
from danlu.model.shape import ModelConfig

RULES = (
    "tells keys and values from a narrow vector",
    "has no head norms",
    "has no biases",
    "has shared experts without a gate",
    "has shared experts as wide as the routed",
    *LLAMA,
)
KNOWS = ("has keys and values of their own", "has experts in one group")


def to_hf(cfg: ModelConfig) -> dict[str, Any]:
    moe, latent = cfg.moe, cfg.latent
    assert moe and latent
    return shape_to_hf(cfg) | {
        "head_dim": latent.qk_rope_head_dim,
        "num_key_value_heads": cfg.num_attention_heads,
        "q_lora_rank": latent.q_lora_rank,
        "kv_lora_rank": latent.kv_lora_rank,
        "qk_nope_head_dim": latent.qk_nope_head_dim,
        "qk_rope_head_dim": latent.qk_rope_head_dim,
        "v_head_dim": latent.v_head_dim,
        "rope_interleave": True,
        "attention_bias": False,
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
        "moe_layer_freq": 1,
        "scoring_func": moe.router,
        "topk_method": "noaux_tc",
        "num_nextn_predict_layers": 0,
        "num_mtp_layers": 0,
    }


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    only(described, rope_interleave=True, attention_bias=False, moe_layer_freq=1)
    names = ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
    latent = {name: described[name] for name in names} | {"q_lora_rank": described.get("q_lora_rank")}
    width = described["qk_nope_head_dim"] + described["qk_rope_head_dim"]
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
        "first_dense_layers": described.get("first_k_dense_replace", 0),
        "balance": "bias",
    }
    keys = shape_from_hf(described | {"head_dim": width, "num_key_value_heads": None})
    return keys | {"latent": latent, "moe": moe}


def fused(name: str, cfg: ModelConfig) -> list[Part]:
    match = re.fullmatch(r"model\.layers\.\d+\.self_attn\.(q_proj|q_b_proj|kv_a_proj_with_mqa)\.weight", name)
    if match is None:
        return []
    latent = cfg.latent
    assert latent
    if match[1] == "kv_a_proj_with_mqa":
        return _turned(name, 1, latent.kv_lora_rank, latent.qk_rope_head_dim, cfg.hidden_size)
    columns = latent.q_lora_rank if match[1] == "q_b_proj" else cfg.hidden_size
    assert columns
    return _turned(name, cfg.num_attention_heads, latent.qk_nope_head_dim, latent.qk_rope_head_dim, columns)


def _turned(name: str, heads: int, plain: int, turned: int, columns: int) -> list[Part]:
    """Return the plain rows of each head as they are, and the turned ones, neighbours set apart."""
    width, every = plain + turned, slice(None)
    shape, form = (heads * width, columns), (heads, width, columns)
    first, last = (every, slice(0, plain)), (every, slice(plain, width))
    pairs = (heads, width // 2, 2, columns)
    apart = Fused(shape, pairs, (0, 2, 1, 3), (every, every, slice(plain // 2, width // 2)))
    return [
        Part(name, first, fused=Fused(shape, form, (), first), form=form),
        Part(name, last, fused=apart, form=form),
    ]


def left_out(name: str, cfg: ModelConfig) -> str:
    """Say that a layer beyond the last one only guesses further ahead (multi-token prediction)."""
    match = re.match(r"model\.layers\.(\d+)\.", name)
    beyond = match is not None and int(match[1]) >= cfg.num_hidden_layers
    return "left out: it predicts tokens further ahead, which is not known here" if beyond else ""


FAMILY = Family(
    "deepseek_v3",
    "DeepseekV3ForCausalLM",
    True,
    asks("routes by sigmoid", *RULES, knows=KNOWS),
    to_hf,
    from_hf,
    renames=((".shared_expert.", ".shared_experts."),),
    fused=fused,
    left_out=left_out,
)
