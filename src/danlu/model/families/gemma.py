"""Gemma: embeddings scaled by the root of the width, norms that count from one, a GELU gate."""

from __future__ import annotations

from typing import Any

from danlu.model.families.family import (
    FROM_HF,
    PARTIAL,
    PARTIAL_REMEDY,
    Family,
    Reason,
    shape_from_hf,
    shape_to_hf,
    unlike_llama,
)
from danlu.model.shape import ModelConfig


def why_not(cfg: ModelConfig) -> list[Reason]:
    reasons = unlike_gemma(cfg)
    if cfg.qk_norm:
        reasons.append(Reason("has no head norms", "model.qk_norm=false"))
    return reasons


def unlike_gemma(cfg: ModelConfig, *knows: str) -> list[Reason]:
    """Return what keeps a decoder from the families of this kind."""
    reasons = unlike_llama(cfg, "scaled embeddings", "norm offset", "gelu_tanh", *knows)
    if cfg.activation != "gelu_tanh":
        reasons.append(Reason(f"has gelu_tanh, not {cfg.activation}", "model.activation=gelu_tanh"))
    if cfg.embedding_scale != cfg.hidden_size**0.5:
        remedy = f"model.embedding_scale={cfg.hidden_size**0.5}"
        reasons.append(Reason("scales embeddings by the root of the width", remedy))
    if not cfg.norm_offset:
        reasons.append(Reason("has norms that count from one", "model.norm_offset=true"))
    if cfg.qkv_bias != cfg.output_bias:
        remedy = "model.qkv_bias=false model.output_bias=false"
        reasons.append(Reason("has all of attention's biases or none", remedy))
    if cfg.mlp_bias:
        reasons.append(Reason("has no MLP biases", "model.mlp_bias=false"))
    if cfg.partial_rotary_factor != 1.0:
        reasons.append(Reason(PARTIAL, PARTIAL_REMEDY))
    return reasons


def to_hf(cfg: ModelConfig) -> dict[str, Any]:
    shape = shape_to_hf(cfg)
    return shape | {"hidden_activation": shape["hidden_act"], "attention_bias": cfg.qkv_bias}


def from_hf(described: dict[str, Any]) -> dict[str, Any]:
    # Its first files say "gelu" and mean the approximation, as everybody computes it.
    activation = described.get("hidden_activation") or "gelu_pytorch_tanh"
    bias = described.get("attention_bias", False)
    usual = {"head_dim": 256, "tie_word_embeddings": True, "hidden_act": activation}
    return shape_from_hf(usual | described | {"hidden_act": activation}) | {
        "activation": FROM_HF.get(activation, activation),
        "embedding_scale": described["hidden_size"] ** 0.5,
        "norm_offset": True,
        "qkv_bias": bias,
        "output_bias": bias,
    }


FAMILY = Family("gemma", "GemmaForCausalLM", False, why_not, to_hf, from_hf)
