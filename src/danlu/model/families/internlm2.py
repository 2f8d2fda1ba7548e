"""InternLM 2: Llama under other names, queries, keys and values in one matrix; read, and written as Llama."""

from __future__ import annotations

from typing import Any

from danlu.model.families import llama
from danlu.model.families.family import Family
from danlu.model.families.packed import by_groups


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    return llama.from_hf(described | {"attention_bias": described.get("bias", False)})


FAMILY = Family(
    "internlm2",
    "InternLM2ForCausalLM",
    False,
    llama.FAMILY.why_not,
    llama.to_hf,
    from_hf,
    renames=(
        ("model.embed_tokens.", "model.tok_embeddings."),
        ("lm_head.", "output."),
        (".self_attn.o_proj.", ".attention.wo."),
        (".mlp.gate_proj.", ".feed_forward.w1."),
        (".mlp.up_proj.", ".feed_forward.w3."),
        (".mlp.down_proj.", ".feed_forward.w2."),
        (".input_layernorm.", ".attention_norm."),
        (".post_attention_layernorm.", ".ffn_norm."),
    ),
    fused=by_groups("model.layers.{}.attention.wqkv"),
    leaves=False,
)
