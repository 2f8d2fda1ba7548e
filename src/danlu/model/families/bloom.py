"""Bloom: no positions but slopes (ALiBi), a norm on the embeddings, LayerNorm, biases everywhere."""

from __future__ import annotations

from typing import Any

from danlu.model.families.family import Family, only
from danlu.model.families.packed import by_heads
from danlu.model.families.rules import GPT, asks
from danlu.model.shape import ModelConfig


def to_hf(cfg: ModelConfig) -> dict[str, Any]:
    return {
        "vocab_size": cfg.vocab_size,
        "hidden_size": cfg.hidden_size,
        "n_layer": cfg.num_hidden_layers,
        "n_head": cfg.num_attention_heads,
        "seq_length": cfg.max_position_embeddings,
        "layer_norm_epsilon": cfg.norm_eps,
        "initializer_range": cfg.initializer_range,
        "tie_word_embeddings": cfg.tie_word_embeddings,
        "apply_residual_connection_post_layernorm": False,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
    }


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    only(described, apply_residual_connection_post_layernorm=False)
    width = described.get("hidden_size") or described["n_embed"]
    return {
        "vocab_size": described["vocab_size"],
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": described.get("n_layer") or described["num_hidden_layers"],
        "num_attention_heads": described.get("n_head") or described["num_attention_heads"],
        "max_position_embeddings": described.get("seq_length", 2048),
        "norm_eps": described.get("layer_norm_epsilon", 1e-5),
        "initializer_range": described.get("initializer_range", 0.02),
        "tie_word_embeddings": described.get("tie_word_embeddings", True),
        "position": "alibi",
        "embedding_norm": True,
        "norm": "layer",
        "gated": False,
        "activation": "gelu_tanh",
        **dict.fromkeys(("qkv_bias", "output_bias", "mlp_bias"), True),
    }


FAMILY = Family(
    "bloom",
    "BloomForCausalLM",
    False,
    asks(
        "has slopes for positions",
        "normalises embeddings",
        "has gelu_tanh, not {cfg.activation}",
        "has biases everywhere but on scores",
        "has a key head for each query head",
        "has an MLP four times as wide",
        *GPT,
        knows=("has rotary positions", "does not normalise embeddings"),
    ),
    to_hf,
    from_hf,
    renames=(
        ("model.embed_tokens.", "transformer.word_embeddings."),
        ("model.embed_norm.", "transformer.word_embeddings_layernorm."),
        ("model.norm.", "transformer.ln_f."),
        ("model.layers.", "transformer.h."),
        (".self_attn.o_proj.", ".self_attention.dense."),
        (".mlp.up_proj.", ".mlp.dense_h_to_4h."),
        (".mlp.down_proj.", ".mlp.dense_4h_to_h."),
    ),
    fused=by_heads("transformer.h.{}.self_attention.query_key_value"),
    unread=(),
    prefix="transformer.",
)
