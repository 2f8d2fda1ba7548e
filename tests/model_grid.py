"""Awkward shapes of every family, as changes to transformers' own configuration of it.

Groups of three heads, five heads on one key, heads wider or narrower than the width over their number,
biases, tied and untied heads, windows shorter than the text, one expert a token and all of them. Each
word of a shape's name is what is special about it.
"""

from __future__ import annotations

from model_pieces import (
    ALL,
    BASE,
    DEEPSEEK_YARN,
    DYNAMIC,
    ELEVEN,
    FIVES,
    GEMMA2,
    GLM_EXPERTS,
    GPT,
    LATENT,
    LINEAR,
    LLAMA3,
    NARROWER,
    ONE,
    QWEN_EXPERTS,
    SEVEN,
    SINGLE,
    THREES,
    TIED,
    TWO,
    UNTIED,
    WIDER,
    WORDS,
    YARN,
    Shape,
    longrope,
    partly,
    qwen_windows,
    rope,
    windows,
)

GRID: dict[str, dict[str, Shape]] = {
    "llama": {
        "threes, untied": BASE | THREES | UNTIED,
        "five on one, all biases, tied": BASE | FIVES | TIED | {"attention_bias": True, "mlp_bias": True},
        "wider, attention's biases": BASE | WIDER | UNTIED | {"attention_bias": True},
        "narrower, MLP's biases": BASE | NARROWER | {"mlp_bias": True},
        "linear": BASE | THREES | LINEAR,
        "dynamic": BASE | FIVES | DYNAMIC,
        "yarn": BASE | WIDER | YARN,
        "llama3": BASE | THREES | LLAMA3,
    },
    "mistral": {
        "threes, windows": BASE | THREES | UNTIED | {"sliding_window": 9},
        "wider, tied": BASE | WIDER | TIED | {"sliding_window": None},
        "narrower, two-token windows": BASE | NARROWER | UNTIED | {"sliding_window": 2},
        "yarn": BASE | FIVES | YARN | {"sliding_window": 5},
    },
    "qwen2": {
        "threes, tied": BASE | THREES | TIED,
        "five on one, windows in the last layers": BASE | FIVES | UNTIED | qwen_windows(1),
        "seven, windows everywhere": BASE | SEVEN | TIED | qwen_windows(0),
        "yarn": BASE | THREES | YARN,
    },
    "qwen3": {
        "wider, tied": BASE | WIDER | TIED,
        "narrower, biases, untied": BASE | NARROWER | UNTIED | {"attention_bias": True},
        "five on one, windows": BASE | FIVES | {"head_dim": 8} | TIED | qwen_windows(2),
        "yarn": BASE | THREES | {"head_dim": 12} | YARN | TIED,
    },
    "mixtral": {
        "threes, one expert": BASE | THREES | ONE | {"num_local_experts": 5, "head_dim": 8},
        "wider, all experts, tied": BASE | WIDER | ALL | TIED | {"num_local_experts": 5},
        "five on one, windows": BASE | FIVES | TWO | {"num_local_experts": 3, "sliding_window": 9},
    },
    "qwen2_moe": {
        "threes, one expert": BASE | THREES | ONE | QWEN_EXPERTS | {"shared_expert_intermediate_size": 20},
        "five on one, all experts, tied": BASE
        | FIVES
        | ALL
        | TIED
        | QWEN_EXPERTS
        | {"shared_expert_intermediate_size": 72, "norm_topk_prob": True, "qkv_bias": False},
        "seven, dense first, windows": BASE
        | SEVEN
        | TWO
        | {"use_sliding_window": True}
        | windows(1, 1, 1)
        | QWEN_EXPERTS
        | {"shared_expert_intermediate_size": 24, "mlp_only_layers": [0]},
    },
    "qwen3_moe": {
        "wider, one expert": BASE | WIDER | ONE | QWEN_EXPERTS | {"norm_topk_prob": False},
        "narrower, all experts, biases, tied": BASE
        | NARROWER
        | ALL
        | TIED
        | QWEN_EXPERTS
        | {"norm_topk_prob": True, "attention_bias": True},
        "threes, dense first, yarn": BASE
        | THREES
        | {"head_dim": 8}
        | TWO
        | QWEN_EXPERTS
        | YARN
        | {"mlp_only_layers": [0], "norm_topk_prob": True},
        "five on one, windows": BASE
        | FIVES
        | {"head_dim": 8, "use_sliding_window": True, "sliding_window": 9}
        | TWO
        | QWEN_EXPERTS,
    },
    "gemma": {
        "wider": BASE | WIDER,
        "narrower, untied": BASE | NARROWER | UNTIED,
        "five on one, biases": BASE | FIVES | {"head_dim": 8, "attention_bias": True},
    },
    "gemma2": {
        "wider, caps": BASE | WIDER | GEMMA2 | windows(1, 0, 1),
        "narrower, no caps, untied": BASE
        | NARROWER
        | UNTIED
        | windows(0, 1)
        | {
            "query_pre_attn_scalar": 6,
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
        },
        "five on one, biases, no windows": BASE
        | FIVES
        | {"head_dim": 8, "attention_bias": True}
        | GEMMA2
        | windows(0, 0),
    },
    "gemma3_text": {
        "wider, a base for windows, linear": BASE
        | WIDER
        | windows(1, 1, 0)
        | {
            "query_pre_attn_scalar": 20,
            "rope_parameters": {
                "sliding_attention": {"rope_type": "default", "rope_theta": 1000.0},
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            },
        },
        "narrower, untied": BASE | NARROWER | UNTIED | windows(0, 1) | {"query_pre_attn_scalar": 6},
        "five on one, biases, windows everywhere": BASE
        | FIVES
        | windows(1, 1)
        | {"head_dim": 8, "attention_bias": True, "final_logit_softcapping": 4.0},
    },
    "phi": {
        "threes, half": BASE | THREES | partly(0.5),
        "five on one, a quarter": BASE | FIVES | {"hidden_size": 80} | partly(0.25),
        "three, whole, linear, tied": BASE | SINGLE | TIED | LINEAR,
    },
    "phi3": {
        "threes, windows": BASE | THREES | {"sliding_window": 9},
        "five on one, partly, tied": BASE | FIVES | TIED | partly(0.75),
        "seven, longrope, original inside and, deciding, outside": BASE
        | SEVEN
        | longrope(4, original_max_position_embeddings=16)
        | {"original_max_position_embeddings": 32},
        "threes, longrope, original outside": BASE
        | THREES
        | longrope(4)
        | {"original_max_position_embeddings": 32},
    },
    "gpt2": {
        "three heads": GPT | {"n_embd": 36, "n_head": 3},
        "five heads, narrow": GPT | {"n_embd": 40, "n_head": 5, "n_inner": 28} | TIED,
        "seven heads, relu": GPT | {"n_embd": 56, "n_head": 7, "activation_function": "relu"},
        "one head, gelu": GPT | {"n_embd": 20, "n_head": 1, "activation_function": "gelu"},
    },
    "gpt_neo": {
        "three heads, windows": BASE
        | {
            "hidden_size": 36,
            "num_heads": 3,
            "num_layers": 2,
            "num_hidden_layers": 2,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 9,
        },
        "five heads, untied": BASE
        | UNTIED
        | {
            "hidden_size": 40,
            "num_heads": 5,
            "num_layers": 3,
            "num_hidden_layers": 3,
            "attention_types": [[["local"], 2], [["global"], 1]],
            "window_size": 4,
            "intermediate_size": None,
        },
        "seven heads, no windows, relu": BASE
        | {
            "hidden_size": 56,
            "num_heads": 7,
            "num_layers": 2,
            "num_hidden_layers": 2,
            "attention_types": [[["global"], 2]],
            "activation_function": "relu",
        },
    },
    "gpt_neox": {
        "three heads, half": BASE | SINGLE | partly(0.5),
        "five heads, one after the other, tied": BASE
        | FIVES
        | TIED
        | partly(1.0)
        | {"use_parallel_residual": False},
        "three heads, no biases in attention": BASE | SINGLE | partly(1.0) | {"attention_bias": False},
        "seven heads, a quarter, linear": BASE
        | SEVEN
        | rope("linear", factor=3.0, partial_rotary_factor=0.25)
        | {"hidden_act": "gelu_new"},
    },
    "bloom": {
        "three heads": {"vocab_size": WORDS, "hidden_size": 36, "n_head": 3, "n_layer": 2},
        "five heads, untied": {"vocab_size": WORDS, "hidden_size": 40, "n_head": 5, "n_layer": 3} | UNTIED,
        "eleven heads": {"vocab_size": WORDS, "hidden_size": 44, "n_head": 11, "n_layer": 2},
    },
    "falcon": {
        "seven on one": BASE | SEVEN | {"multi_query": True},
        "threes, groups, untied": BASE
        | THREES
        | UNTIED
        | {"num_kv_heads": 2, "new_decoder_architecture": True, "ffn_hidden_size": 72},
        "five on one, groups behind one norm, biases": BASE
        | FIVES
        | {
            "num_kv_heads": 1,
            "new_decoder_architecture": True,
            "num_ln_in_parallel_attn": 1,
            "bias": True,
        },
        "three, one after the other, biases": BASE
        | SINGLE
        | {"multi_query": False, "parallel_attn": False, "bias": True},
        "three, one after the other, slopes, biases, untied": BASE
        | SINGLE
        | UNTIED
        | {"multi_query": False, "parallel_attn": False, "bias": True, "alibi": True},
        "eleven on one, slopes": BASE | ELEVEN | {"multi_query": True, "alibi": True},
    },
    "glm": {
        "threes, half": BASE | THREES | {"head_dim": 8} | partly(0.5),
        "wider, no biases, tied": BASE
        | WIDER
        | {"head_dim": 12}
        | TIED
        | partly(0.5)
        | {"attention_bias": False},
        "narrower, whole": BASE | NARROWER | partly(1.0),
    },
    "glm4": {
        "threes, half": BASE | THREES | {"head_dim": 8} | partly(0.5),
        "wider, no biases, tied": BASE
        | WIDER
        | {"head_dim": 12}
        | TIED
        | partly(0.5)
        | {"attention_bias": False},
        "narrower, whole": BASE | NARROWER | partly(1.0),
    },
    "glm4_moe": {
        "threes, head norms, one expert": BASE
        | THREES
        | {"head_dim": 8, "use_qk_norm": True}
        | ONE
        | GLM_EXPERTS
        | partly(0.5),
        "wider, biases, all experts, tied": BASE
        | WIDER
        | TIED
        | {"head_dim": 12, "attention_bias": True, "norm_topk_prob": False}
        | ALL
        | GLM_EXPERTS
        | partly(0.5)
        | {"routed_scaling_factor": 2.5, "n_shared_experts": 2},
        "five on one, groups, no dense layers": BASE
        | FIVES
        | {"head_dim": 16}
        | TWO
        | GLM_EXPERTS
        | partly(0.25)
        | {"n_routed_experts": 6, "n_group": 3, "topk_group": 2, "first_k_dense_replace": 0},
    },
    "olmoe": {
        "threes, one expert": BASE | THREES | ONE | {"num_experts": 5},
        "five on one, all experts, tied, biases": BASE
        | FIVES
        | ALL
        | TIED
        | {"num_experts": 5, "norm_topk_prob": True, "attention_bias": True},
        "seven, yarn": BASE | SEVEN | TWO | {"num_experts": 3} | YARN,
    },
    "deepseek_v2": {
        "whole queries, dense first": BASE | LATENT,
        "narrow queries, groups, one expert, yarn": BASE
        | LATENT
        | ONE
        | {"q_lora_rank": 18, "topk_method": "group_limited_greedy", "n_group": 3, "topk_group": 2}
        | {"routed_scaling_factor": 1.5}
        | DEEPSEEK_YARN,
        "values wider than keys, all experts, tied": BASE
        | LATENT
        | TIED
        | {"v_head_dim": 22, "num_experts_per_tok": 6, "first_k_dense_replace": 0, "n_shared_experts": 1},
    },
    "deepseek_v3": {
        "groups": BASE | LATENT | {"q_lora_rank": 18, "n_group": 3, "topk_group": 2, "norm_topk_prob": True},
        "whole queries, one expert, yarn": BASE
        | LATENT
        | ONE
        | TIED
        | {"routed_scaling_factor": 2.5}
        | DEEPSEEK_YARN,
        "values wider than keys, all experts, no dense layers": BASE
        | LATENT
        | {"v_head_dim": 22, "num_experts_per_tok": 6, "first_k_dense_replace": 0, "n_shared_experts": 1},
    },
}

STRETCHES = ("linear", "dynamic", "yarn", "llama3", "longrope")
STRETCHED = [
    (family, kind)
    for family in GRID
    if family not in ("gpt2", "gpt_neo", "bloom")  # have no rotary positions
    for kind in STRETCHES
    if kind == "longrope" or family != "phi3"  # knows no other
]


def stretched(family: str, kind: str) -> Shape:
    """Return a family's first shape with positions stretched beyond 32 tokens by a published way."""
    shape = next(iter(GRID[family].values()))
    part = shape.get("rope_parameters", {}).get("partial_rotary_factor", 1.0)
    width = shape.get("head_dim") or shape["hidden_size"] // shape["num_attention_heads"]
    pairs = int(shape.get("qk_rope_head_dim", width * part)) // 2
    made = {
        "linear": LINEAR,
        "dynamic": DYNAMIC,
        "yarn": YARN,
        "llama3": LLAMA3,
        "longrope": longrope(pairs, original_max_position_embeddings=32),
    }[kind]
    keys = made["rope_parameters"] | ({} if part == 1.0 else {"partial_rotary_factor": part})
    if family == "phi3":  # whose default lies outside and decides
        made = made | {"original_max_position_embeddings": 32}
    if family == "gemma3_text":
        keys = shape["rope_parameters"] | {"full_attention": keys}
    return shape | made | {"rope_parameters": keys}
