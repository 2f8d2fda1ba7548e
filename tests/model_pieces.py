"""Pieces of transformers' configurations, of which `model_grid` makes every family's awkward shapes."""

from __future__ import annotations

from typing import Any

Shape = dict[str, Any]

WORDS = 157
BASE: Shape = {
    "vocab_size": WORDS,
    "max_position_embeddings": 128,
    "num_hidden_layers": 3,
    "intermediate_size": 56,
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id")),
}
TIED, UNTIED = {"tie_word_embeddings": True}, {"tie_word_embeddings": False}

THREES = {"hidden_size": 48, "num_attention_heads": 6, "num_key_value_heads": 2}
FIVES = {"hidden_size": 40, "num_attention_heads": 5, "num_key_value_heads": 1}
WIDER = {"hidden_size": 36, "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 10}
NARROWER = {"hidden_size": 60, "num_attention_heads": 5, "num_key_value_heads": 5, "head_dim": 6}
SINGLE = {"hidden_size": 36, "num_attention_heads": 3, "num_key_value_heads": 3}
ELEVEN = {"hidden_size": 44, "num_attention_heads": 11, "num_key_value_heads": 11}
"""Of which some have slopes that are no powers of two, so that rounding them shows."""
SEVEN = {"hidden_size": 56, "num_attention_heads": 7, "num_key_value_heads": 7}

ONE = {"num_experts_per_tok": 1}
ALL = {"num_experts_per_tok": 5}
TWO = {"num_experts_per_tok": 2}


def rope(kind: str, theta: float = 10000.0, **keys: Any) -> Shape:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": theta, **keys}}


LINEAR = rope("linear", factor=3.0)
DYNAMIC = rope("dynamic", factor=3.0) | {"max_position_embeddings": 32}
YARN = rope("yarn", factor=4.0, original_max_position_embeddings=32)
LLAMA3 = rope(
    "llama3",
    5e5,
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=32,
)


def longrope(pairs: int, **keys: Any) -> Shape:
    short = [1.0 + 0.1 * pair for pair in range(pairs)]
    long = [2.0 + 0.7 * pair for pair in range(pairs)]
    return rope("longrope", short_factor=short, long_factor=long, **keys)


def windows(*kinds: int) -> Shape:
    """Windows of nine tokens in the layers marked 1."""
    words = ["sliding_attention" if kind else "full_attention" for kind in kinds]
    return {"sliding_window": 9, "layer_types": words, "num_hidden_layers": len(kinds)}


def qwen_windows(first: int) -> Shape:
    kept = {"use_sliding_window": True, "sliding_window": 9, "num_hidden_layers": 3}
    return kept | {"max_window_layers": first}


QWEN_EXPERTS = {"num_experts": 5, "num_local_experts": 5, "moe_intermediate_size": 24}
GEMMA2 = {"query_pre_attn_scalar": 20, "attn_logit_softcapping": 3.0, "final_logit_softcapping": 4.0}
LATENT = {
    "hidden_size": 40,
    "num_attention_heads": 5,
    "num_key_value_heads": 5,
    "q_lora_rank": None,
    "kv_lora_rank": 14,
    "qk_nope_head_dim": 10,
    "qk_rope_head_dim": 6,
    "v_head_dim": 12,
    "moe_intermediate_size": 24,
    "n_routed_experts": 6,
    "n_shared_experts": 2,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
    "norm_topk_prob": False,
    "n_group": 1,
    "topk_group": 1,
}
DEEPSEEK_YARN = rope(
    "yarn", factor=4.0, original_max_position_embeddings=32, mscale=0.707, mscale_all_dim=0.707
)
GLM_EXPERTS = {
    "moe_intermediate_size": 24,
    "n_routed_experts": 5,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "num_nextn_predict_layers": 0,
}


def partly(part: float) -> Shape:
    return rope("default", partial_rotary_factor=part)


GPT = (
    {"vocab_size": WORDS, "n_positions": 64, "n_layer": 3}
    | UNTIED
    | dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
)
