"""Small models of every kind, for the tests of this folder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from danlu.device import ops
from danlu.model.build import build
from danlu.model.config import ModelConfig, resolve
from danlu.model.decoder import Decoder

# Awkward on purpose: no power of two, heads that do not add up to the width.
BASE: dict[str, Any] = {
    "vocab_size": 301,
    "hidden_size": 48,
    "intermediate_size": 112,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
}
EXPERTS: dict[str, Any] = {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 40}
LONGER = {"factor": 4.0, "original_max_position_embeddings": 128}

GEMMA: dict[str, Any] = {
    "activation": "gelu_tanh",
    "embedding_scale": 48**0.5,
    "norm_offset": True,
    "head_dim": 16,
}
GEMMA2: dict[str, Any] = GEMMA | {
    "sandwich": True,
    "attention_softcap": 5.0,
    "logit_softcap": 3.0,
    "attention_scale": 24**-0.5,
    "sliding_window": 9,
    "layer_types": ("sliding_attention", "full_attention", "sliding_attention"),
}

PLAIN: dict[str, Any] = {
    "norm": "layer",
    "gated": False,
    "activation": "gelu_tanh",
    **dict.fromkeys(("qkv_bias", "output_bias", "mlp_bias"), True),
}
BARE: dict[str, Any] = {"norm": "layer", "gated": False, "activation": "gelu"}
LATENT: dict[str, Any] = {
    "num_key_value_heads": 6,
    "head_dim": None,
    "latent": {"kv_lora_rank": 14, "qk_nope_head_dim": 10, "qk_rope_head_dim": 6, "v_head_dim": 12},
}
SHARED: dict[str, Any] = EXPERTS | {"num_shared_experts": 2}

SHAPES: dict[str, dict[str, Any]] = {
    "qwen3": {"qk_norm": True, "head_dim": 16},
    "qwen3 with biases, untied": {
        "qk_norm": True,
        "qkv_bias": True,
        "output_bias": True,
        "tie_word_embeddings": False,
    },
    "llama": {},
    "llama with all biases, untied": {
        "qkv_bias": True,
        "output_bias": True,
        "mlp_bias": True,
        "tie_word_embeddings": False,
    },
    "llama, linear": {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    "llama, dynamic": {
        "rope_scaling": {"rope_type": "dynamic", "factor": 4.0},
        "max_position_embeddings": 32,
    },
    "llama, yarn": {"rope_scaling": LONGER | {"rope_type": "yarn"}},
    "llama, llama3": {
        "rope_scaling": LONGER | {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    },
    "llama, longrope": {
        "rope_scaling": {
            "rope_type": "longrope",
            "short_factor": [1.0, 1.1, 1.2, 1.3],
            "long_factor": [2.0, 3.0, 4.0, 5.0],
            "original_max_position_embeddings": 32,
        }
    },
    "qwen2": {"qkv_bias": True},
    "qwen2, windows in the last layers": {
        "qkv_bias": True,
        "sliding_window": 9,
        "layer_types": ("full_attention", "sliding_attention", "sliding_attention"),
    },
    "mistral": {"head_dim": 12, "sliding_window": 9},
    "deepseek_v2": LATENT | {"moe": SHARED | {"norm_topk_prob": False, "first_dense_layers": 1}},
    "deepseek_v2, groups, narrow queries, yarn": LATENT
    | {
        "latent": LATENT["latent"] | {"q_lora_rank": 20},
        "moe": SHARED
        | {
            "norm_topk_prob": False,
            "num_experts": 6,
            "n_group": 3,
            "topk_group": 2,
            "routed_scaling_factor": 1.5,
        },
        "rope_scaling": LONGER | {"rope_type": "yarn", "mscale": 0.7, "mscale_all_dim": 0.7},
    },
    "deepseek_v3": LATENT
    | {
        "latent": LATENT["latent"] | {"q_lora_rank": 20},
        "moe": SHARED
        | {
            "router": "sigmoid",
            "num_experts": 8,
            "n_group": 4,
            "topk_group": 2,
            "num_experts_per_tok": 3,
            "routed_scaling_factor": 2.5,
            "first_dense_layers": 1,
            "balance": "bias",
        },
        "tie_word_embeddings": False,
    },
    "glm": {"qkv_bias": True, "head_dim": 12, "partial_rotary_factor": 0.5},
    "glm4": {"qkv_bias": True, "head_dim": 12, "partial_rotary_factor": 0.5, "sandwich": True},
    "olmoe": {
        "qk_norm": "all heads",
        "moe": EXPERTS | {"norm_topk_prob": False},
        "tie_word_embeddings": False,
    },
    "phi3": {"head_dim": 8, "sliding_window": 9, "tie_word_embeddings": False, "partial_rotary_factor": 0.5},
    "phi3, longrope": {
        "head_dim": 8,
        "sliding_window": 100,
        "rope_scaling": {
            "rope_type": "longrope",
            "short_factor": [1.0, 1.1, 1.2, 1.3],
            "long_factor": [2.0, 3.0, 4.0, 5.0],
            "original_max_position_embeddings": 32,
        },
    },
    "phi": PLAIN
    | {"parallel": "one norm", "head_bias": True, "tie_word_embeddings": False, "partial_rotary_factor": 0.5},
    "phi, tied": PLAIN | {"parallel": "one norm", "head_bias": True},
    "gpt2": PLAIN | {"position": "learned", "num_key_value_heads": 6},
    "gpt2, relu, untied": PLAIN
    | {
        "position": "learned",
        "num_key_value_heads": 6,
        "activation": "relu",
        "tie_word_embeddings": False,
    },
    "gpt_neo": PLAIN
    | {
        "position": "learned",
        "num_key_value_heads": 6,
        "qkv_bias": False,
        "attention_scale": 1.0,
        "sliding_window": 9,
        "layer_types": ("full_attention", "sliding_attention", "full_attention"),
    },
    "gpt_neox": PLAIN
    | {
        "num_key_value_heads": 6,
        "activation": "gelu",
        "parallel": "two norms",
        "partial_rotary_factor": 0.25,
        "tie_word_embeddings": False,
    },
    "gpt_neox, one after the other": PLAIN
    | {"num_key_value_heads": 6, "activation": "gelu", "partial_rotary_factor": 0.5},
    "falcon, one key head": BARE | {"parallel": "one norm", "num_key_value_heads": 1},
    "falcon, groups": BARE | {"parallel": "two norms", "tie_word_embeddings": False},
    "falcon, biases": PLAIN | {"activation": "gelu", "parallel": "two norms"},
    "falcon, groups behind one norm": BARE | {"parallel": "one norm", "tie_word_embeddings": False},
    "falcon, one after the other": BARE | {"num_key_value_heads": 6},
    "falcon, rounded slopes": PLAIN
    | {
        "activation": "gelu",
        "num_attention_heads": 12,  # whose slopes are not all powers of two
        "num_key_value_heads": 12,
        "head_dim": 4,
        "position": "rounded alibi",
    },
    "bloom": PLAIN
    | {
        "position": "alibi",
        "embedding_norm": True,
        "num_key_value_heads": 6,
        "intermediate_size": 192,
    },
    "gemma": GEMMA,
    "gemma, biases, untied": GEMMA
    | {"qkv_bias": True, "output_bias": True, "tie_word_embeddings": False, "head_dim": 12},
    "gemma2": GEMMA2,
    "gemma2, other windows, no caps": GEMMA2
    | {
        "attention_softcap": None,
        "logit_softcap": None,
        "layer_types": ("full_attention", "full_attention", "sliding_attention"),
    },
    "gemma3_text": GEMMA2
    | {
        "qk_norm": True,
        "attention_softcap": None,
        "logit_softcap": None,
        "window_rope_theta": 1e4,
        "layer_types": ("sliding_attention", "sliding_attention", "full_attention"),
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    },
    "qwen3_moe": {"qk_norm": True, "moe": EXPERTS},
    "qwen3_moe, one dense layer, shares as they are": {
        "qk_norm": True,
        "moe": EXPERTS | {"first_dense_layers": 1, "norm_topk_prob": False},
    },
    "qwen3_moe, windows": {"qk_norm": True, "moe": EXPERTS, "sliding_window": 9},
    "mixtral": {"moe": EXPERTS},
    "qwen2_moe": {
        "qkv_bias": True,
        "moe": EXPERTS | {"num_shared_experts": 1, "shared_gated": True, "shared_intermediate_size": 56},
    },
    "qwen2_moe, windows": {
        "qkv_bias": True,
        "sliding_window": 9,
        "moe": EXPERTS | {"num_shared_experts": 1, "shared_gated": True},
    },
    "qwen2_moe from an ungated shared expert": {"moe": EXPERTS | {"num_shared_experts": 2}},
    "glm4_moe": {
        "qk_norm": True,
        "partial_rotary_factor": 0.5,
        "moe": EXPERTS
        | {
            "router": "sigmoid",
            "num_shared_experts": 1,
            "first_dense_layers": 1,
            "routed_scaling_factor": 2.0,
            "balance": "bias",
        },
    },
    "glm4_moe, groups": {
        "moe": EXPERTS
        | {
            "router": "sigmoid",
            "num_experts": 6,
            "n_group": 3,
            "topk_group": 2,
            "num_shared_experts": 2,
            "balance": "bias",
        },
    },
}


def config(name: str = "qwen3", **changes: Any) -> ModelConfig:
    return resolve(BASE | SHAPES[name] | changes)


def model(cfg: ModelConfig, seed: int = 0) -> Decoder:
    """A model whose biases are not zero, so that forgetting one shows."""
    made = build(cfg, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*made.named_parameters(), *made.named_buffers()]:
            if name.endswith("bias"):
                tensor.normal_(0.0, 0.02, generator=generator)
    return made


def loss(made: Decoder, tokens_BT: Tensor, samples_BT: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Negative log-likelihood of every token after the first of its sample, and the balance."""
    output = made(tokens_BT, samples_BT=samples_BT)
    labels_BT = torch.full_like(tokens_BT, ops.IGNORE)
    labels_BT[:, :-1] = tokens_BT[:, 1:]
    if samples_BT is not None:
        ends_BT = torch.ones_like(tokens_BT, dtype=torch.bool)
        ends_BT[:, :-1] = samples_BT[:, 1:] != samples_BT[:, :-1]
        labels_BT[ends_BT | (samples_BT < 0)] = ops.IGNORE
    nll_N = ops.cross_entropy(
        *made.scored(output.hidden.flatten(0, 1)), labels_BT.flatten(), softcap=made.cfg.logit_softcap
    )
    return nll_N.sum(), output.balance


def gradients(total: Tensor, made: Decoder) -> dict[str, Tensor]:
    named = dict(made.named_parameters())
    return dict(zip(named, torch.autograd.grad(total, list(named.values()))))


def apart(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, as a part of the largest value."""
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-30))
