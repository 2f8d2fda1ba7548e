"""Falcon: attention and the MLP side by side, few key heads, LayerNorm, a plain GELU MLP.

7B     one norm for both, one key head            query_key_value = all queries, key, value
40B    a norm for each, groups of heads           for each group: its queries, key, value
2 11B  one norm for both, groups of heads
RW     one after the other, a key for each head, and slopes (ALiBi) that are rounded to bfloat16
"""

from __future__ import annotations

from typing import Any

from danlu.model.families.family import (
    Family,
    Part,
    only,
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
        **_kind(cfg),
        "multi_query": cfg.num_key_value_heads == 1,
        "parallel_attn": cfg.parallel != "no",
        "bias": cfg.qkv_bias,
        "alibi": cfg.position == "rounded alibi",
        "activation": shape["hidden_act"],
        "ffn_hidden_size": cfg.intermediate_size,
        "hidden_dropout": 0.0,
    }


def _kind(cfg: ModelConfig) -> dict[str, Any]:
    """Return what its readers tell the layers' norms and the groups of heads from."""
    grouped = cfg.num_key_value_heads not in (1, cfg.num_attention_heads)
    norms = {"one norm": 1, "two norms": 2}.get(cfg.parallel)
    new = grouped or norms == 2
    return {"new_decoder_architecture": new, "num_ln_in_parallel_attn": norms if new else None}


def _parallel(described: dict[str, Any], new: bool) -> str:
    norms = described.get("num_ln_in_parallel_attn")
    if new:
        only(described, parallel_attn=True)
    if not described.get("parallel_attn", True):
        return "no"
    return "two norms" if new and norms in (None, 2) else "one norm"


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    new = described.get("new_decoder_architecture", False)
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
        "parallel": _parallel(described, new),
        "position": "rounded alibi" if described.get("alibi") else "rotary",
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
        "has groups of heads beside the MLP only",
        "has rotary positions, or slopes as rounded as its own",
        "has biases everywhere or nowhere",
        "rotates whole heads",
        *GPT,
        knows=("has the MLP after attention", "has rotary positions"),
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
    prefix="transformer.",
)
