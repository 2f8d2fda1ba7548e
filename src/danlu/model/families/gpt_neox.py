"""GPT-NeoX (Pythia, Dolly): attention and the MLP side by side behind a norm each, partly turned heads."""

from __future__ import annotations

from typing import Any

from danlu.model.families.family import Family, shape_from_hf, shape_to_hf
from danlu.model.families.packed import by_heads
from danlu.model.families.rules import GPT, asks
from danlu.model.shape import ModelConfig


def to_hf(cfg: ModelConfig) -> dict[str, Any]:
    return shape_to_hf(cfg) | {
        "layer_norm_eps": cfg.norm_eps,
        "rotary_pct": cfg.partial_rotary_factor,
        "partial_rotary_factor": cfg.partial_rotary_factor,
        "rotary_emb_base": cfg.rope_theta,
        "use_parallel_residual": cfg.parallel == "two norms",
        "attention_bias": cfg.qkv_bias,
        "hidden_dropout": 0.0,
    }


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    spelt = {
        "rms_norm_eps": described["layer_norm_eps"],
        "rope_theta": described.get("rotary_emb_base", 10000.0),
        "partial_rotary_factor": described.get("rotary_pct", 0.25),
    }
    bias = described.get("attention_bias", True)
    set_here = {"rms_norm_eps": spelt["rms_norm_eps"], "num_key_value_heads": None}
    return shape_from_hf(spelt | described | set_here) | {
        "norm": "layer",
        "gated": False,
        "parallel": "two norms" if described.get("use_parallel_residual", True) else "no",
        "qkv_bias": bias,
        "output_bias": bias,
        "mlp_bias": True,
    }


FAMILY = Family(
    "gpt_neox",
    "GPTNeoXForCausalLM",
    False,
    asks(
        "has a norm for each of attention and the MLP",
        "has all of attention's biases or none",
        "has MLP biases",
        "has a key head for each query head",
        *GPT,
        knows=("has the MLP after attention",),
    ),
    to_hf,
    from_hf,
    renames=(
        ("model.embed_tokens.", "gpt_neox.embed_in."),
        ("model.norm.", "gpt_neox.final_layer_norm."),
        ("model.layers.", "gpt_neox.layers."),
        (".self_attn.o_proj.", ".attention.dense."),
        (".mlp.up_proj.", ".mlp.dense_h_to_4h."),
        (".mlp.down_proj.", ".mlp.dense_4h_to_h."),
        ("lm_head.", "embed_out."),
    ),
    fused=by_heads("gpt_neox.layers.{}.attention.query_key_value"),
    unread=(r"gpt_neox\.layers\.\d+\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)",),
)
