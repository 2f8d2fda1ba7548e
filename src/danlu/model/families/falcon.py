"""Falcon: attention and the MLP side by side, few key heads, LayerNorm, a plain GELU MLP.

    7B     one norm for both, one key head        query_key_value = all queries, key, value
    40B    a norm for each, groups of heads       for each group: its queries, key, value

Its variant with slopes rounds them in bfloat16 and is not known here.
"""

from __future__ import annotations

from typing import Any

from danlu.model.families.family import (
    Family,
    Part,
    shape_from_hf,
    shape_to_hf,
)
from danlu.model.families.packed import by_groups
from danlu.model.families.rules import GPT, asks
from danlu.model.shape import ModelConfig


def to_hf(cfg: ModelConfig) -> dict[str, Any]:
    shape = shape_to_hf(cfg)
    del shape["head_dim"]  # computed from the rest there
    return shape | {
        "layer_norm_epsilon": cfg.norm_eps,
        "num_kv_heads": cfg.num_key_value_heads,
        "new_decoder_architecture": cfg.parallel == "two norms",
        "multi_query": cfg.num_key_value_heads == 1,
        "parallel_attn": True,
        "bias": cfg.qkv_bias,
        "alibi": False,
        "activation": shape["hidden_act"],
        "ffn_hidden_size": cfg.intermediate_size,
        "hidden_dropout": 0.0,
    }


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    if described.get("alibi"):
        raise KeyError("alibi (its rounded slopes are not known here, so false)")
    new = described.get("new_decoder_architecture", False)
    if not new and not described.get("parallel_attn", True):
        raise KeyError("parallel_attn (only attention beside the MLP is known here, so true)")
    if new and described.get("num_ln_in_parallel_attn", 2) not in (None, 2):
        raise KeyError("num_ln_in_parallel_attn (only two are known here)")
    heads = described["num_attention_heads"]
    keys = (
        described.get("num_kv_heads") or heads if new else 1 if described.get("multi_query", True) else heads
    )
    bias = described.get("bias", False)
    spelt = {
        "rms_norm_eps": described.get("layer_norm_epsilon", 1e-5),
        "num_key_value_heads": keys,
        "hidden_act": described.get("activation", "gelu"),
        "intermediate_size": described.get("ffn_hidden_size") or 4 * described["hidden_size"],
    }
    usual = {"max_position_embeddings": 2048, "tie_word_embeddings": True}
    return shape_from_hf(usual | described | spelt | {"head_dim": None}) | {
        "norm": "layer",
        "gated": False,
        "parallel": "two norms" if new else "one norm",
        **dict.fromkeys(("qkv_bias", "output_bias", "mlp_bias"), bias),
    }


_attention = by_groups("transformer.h.{}.self_attention.query_key_value")


def fused(name: str, cfg: ModelConfig) -> list[Part]:
    norms = {".input_layernorm.": ".ln_attn.", ".post_attention_layernorm.": ".ln_mlp."}
    ours = next((norm for norm in norms if norm in name), None)
    if ours is None or cfg.parallel != "two norms":
        return _attention(name, cfg)
    return [Part(name.replace("model.layers.", "transformer.h.").replace(ours, norms[ours]))]


FAMILY = Family(
    "falcon",
    "FalconForCausalLM",
    False,
    asks(
        "has the MLP beside attention",
        "has groups of heads behind two norms only",
        "has biases everywhere or nowhere",
        "rotates whole heads",
        *GPT,
        knows=("has the MLP after attention",),
    ),
    to_hf,
    from_hf,
    renames=(
        ("model.embed_tokens.", "transformer.word_embeddings."),
        ("model.norm.", "transformer.ln_f."),
        ("model.layers.", "transformer.h."),
        (".self_attn.o_proj.", ".self_attention.dense."),
        (".mlp.up_proj.", ".mlp.dense_h_to_4h."),
        (".mlp.down_proj.", ".mlp.dense_4h_to_h."),
    ),
    fused=fused,
)
