"""GPT-Neo: GPT-2 whose every other layer sees a window, and whose scores are not scaled."""

from __future__ import annotations

from typing import Any

from danlu.model.families.family import ACTIVATIONS, FROM_HF, Family
from danlu.model.families.gpt2 import PLAIN
from danlu.model.families.rules import GPT, asks
from danlu.model.shape import ModelConfig


def to_hf(cfg: ModelConfig) -> dict[str, Any]:
    return {
        "vocab_size": cfg.vocab_size,
        "hidden_size": cfg.hidden_size,
        "intermediate_size": cfg.intermediate_size,
        "num_layers": cfg.num_hidden_layers,
        "num_heads": cfg.num_attention_heads,
        "max_position_embeddings": cfg.max_position_embeddings,
        "activation_function": "gelu_new" if cfg.activation == "gelu_tanh" else ACTIVATIONS[cfg.activation],
        "layer_norm_epsilon": cfg.norm_eps,
        "initializer_range": cfg.initializer_range,
        "tie_word_embeddings": cfg.tie_word_embeddings,
        "attention_types": [[["local" if windowed else "global"], 1] for windowed in cfg.windowed],
        "window_size": cfg.sliding_window or 256,
        **dict.fromkeys(("resid_dropout", "embed_dropout", "attention_dropout"), 0.0),
    }


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    kinds = [kind for kinds, times in described["attention_types"] for _ in range(times) for kind in kinds]
    words = {"global": "full_attention", "local": "sliding_attention"}
    activation = described.get("activation_function", "gelu_new")
    return PLAIN | {
        "vocab_size": described["vocab_size"],
        "hidden_size": described["hidden_size"],
        "intermediate_size": described.get("intermediate_size") or 4 * described["hidden_size"],
        "num_hidden_layers": described["num_layers"],
        "num_attention_heads": described["num_heads"],
        "max_position_embeddings": described["max_position_embeddings"],
        "activation": FROM_HF.get(activation, activation),
        "norm_eps": described.get("layer_norm_epsilon", 1e-5),
        "initializer_range": described.get("initializer_range", 0.02),
        "tie_word_embeddings": described.get("tie_word_embeddings", True),
        "attention_scale": 1.0,
        "qkv_bias": False,
        "sliding_window": described.get("window_size", 256),
        "layer_types": tuple(words[kind] for kind in kinds),
    }


FAMILY = Family(
    "gpt_neo",
    "GPTNeoForCausalLM",
    False,
    asks(
        "has learned positions",
        "does not scale scores",
        "has biases on all but queries, keys and values",
        "has a key head for each query head",
        *GPT,
        knows=("has rotary positions", "has no windows", "scales scores by the heads' width"),
    ),
    to_hf,
    from_hf,
    renames=(
        ("model.embed_tokens.", "transformer.wte."),
        ("model.embed_positions.", "transformer.wpe."),
        ("model.norm.", "transformer.ln_f."),
        ("model.layers.", "transformer.h."),
        (".input_layernorm.", ".ln_1."),
        (".post_attention_layernorm.", ".ln_2."),
        (".self_attn.o_proj.", ".attn.attention.out_proj."),
        (".self_attn.", ".attn.attention."),
        (".mlp.up_proj.", ".mlp.c_fc."),
        (".mlp.down_proj.", ".mlp.c_proj."),
    ),
    unread=(r"transformer\.h\.\d+\.attn\.attention\.(bias|masked_bias)",),  # who may see whom
    prefix="transformer.",
)
