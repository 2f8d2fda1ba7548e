"""GPT-2: learned positions, LayerNorm, and matrices that lie on disk the other way round."""

from __future__ import annotations

import re
from typing import Any

from danlu.model.families.family import ACTIVATIONS, FROM_HF, Family, Fused, Part, only
from danlu.model.families.rules import GPT, asks
from danlu.model.shape import ModelConfig


def to_hf(cfg: ModelConfig) -> dict[str, Any]:
    return {
        "vocab_size": cfg.vocab_size,
        "n_embd": cfg.hidden_size,
        "n_inner": cfg.intermediate_size,
        "n_layer": cfg.num_hidden_layers,
        "n_head": cfg.num_attention_heads,
        "n_positions": cfg.max_position_embeddings,
        "activation_function": "gelu_new" if cfg.activation == "gelu_tanh" else ACTIVATIONS[cfg.activation],
        "layer_norm_epsilon": cfg.norm_eps,
        "initializer_range": cfg.initializer_range,
        "tie_word_embeddings": cfg.tie_word_embeddings,
        "scale_attn_weights": True,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
    }


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    only(described, scale_attn_by_inverse_layer_idx=False, scale_attn_weights=True)
    activation = described.get("activation_function", "gelu_new")
    return {
        "vocab_size": described["vocab_size"],
        "hidden_size": described["n_embd"],
        "intermediate_size": described.get("n_inner") or 4 * described["n_embd"],
        "num_hidden_layers": described["n_layer"],
        "num_attention_heads": described["n_head"],
        "max_position_embeddings": described["n_positions"],
        "activation": FROM_HF.get(activation, activation),
        "norm_eps": described.get("layer_norm_epsilon", 1e-5),
        "initializer_range": described.get("initializer_range", 0.02),
        "tie_word_embeddings": described.get("tie_word_embeddings", True),
        **PLAIN,
    }


PLAIN = {
    "position": "learned",
    "norm": "layer",
    "gated": False,
    **dict.fromkeys(("qkv_bias", "output_bias", "mlp_bias"), True),
}


def fused(name: str, cfg: ModelConfig) -> list[Part]:
    match = re.fullmatch(r"model\.layers\.(\d+)\.(?:self_attn|mlp)\.(\w+)_proj\.(weight|bias)", name)
    if match is None:
        return []
    C, width = cfg.hidden_size, cfg.intermediate_size
    layer, which, kind = match.groups()
    own = f"transformer.h.{layer}"
    if which in "qkv":
        number = "qkv".index(which)
        turned = Fused((C, 3 * C), (C, 3, C), (1, 2, 0), (number,))
        flat = Fused((3 * C,), (3, C), (), (number,))
        return [Part(f"{own}.attn.c_attn.{kind}", fused=turned if kind == "weight" else flat)]
    theirs, shape = {
        "o": ("attn.c_proj", (C, C)),
        "up": ("mlp.c_fc", (C, width)),
        "down": ("mlp.c_proj", (width, C)),
    }[which]
    return [Part(f"{own}.{theirs}.{kind}", fused=Fused(shape, (), (1, 0)) if kind == "weight" else None)]


FAMILY = Family(
    "gpt2",
    "GPT2LMHeadModel",
    False,
    asks(
        "has learned positions",
        "has biases everywhere but on scores",
        "has a key head for each query head",
        *GPT,
        knows=("has rotary positions",),
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
    ),
    fused=fused,
    unread=(r"transformer\.h\.\d+\.attn\.(bias|masked_bias)",),  # who may see whom
    prefix="transformer.",
)
