"""What a family asks of a decoder, said once: each rule is its own words, a test and a remedy.

    asks("has no head norms", "has no biases", *LLAMA)           a family of Llama's kind without either
    asks("has head norms", *LLAMA, knows=("has no windows",))    this one may have windows

A rule of `USUAL` holds for every family that does not say it knows better.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from danlu.model.shape import ModelConfig


class Reason(NamedTuple):
    """Why a family cannot be what a configuration asks for, and what would mend it."""

    problem: str
    remedy: str


class Rule(NamedTuple):
    """Whether a decoder keeps it, and what to do if not; `{cfg...}` in words and remedy is filled in."""

    kept: Callable[[Any], bool]
    remedy: str


def asks(*rules: str, knows: tuple[str, ...] = ()) -> Callable[[ModelConfig], list[Reason]]:
    """Return the function that tells which of these rules, and of the usual ones, a decoder breaks."""
    asked = [*rules, *(rule for rule in USUAL if rule not in knows and rule not in rules)]
    unknown = [rule for rule in (*asked, *knows) if rule not in RULES]
    assert not unknown, unknown

    def why_not(cfg: ModelConfig) -> list[Reason]:
        return [
            Reason(rule.format(cfg=cfg), RULES[rule].remedy.format(cfg=cfg))
            for rule in asked
            if not RULES[rule].kept(cfg)
        ]

    return why_not


def has_free_heads(cfg: ModelConfig) -> bool:
    """Return whether the heads' widths do not add up to the model's."""
    return cfg.head_dim * cfg.num_attention_heads != cfg.hidden_size


NO_BIAS = "model.qkv_bias=false model.output_bias=false model.mlp_bias=false"
EVERY_BIAS = "model.qkv_bias=true model.output_bias=true model.mlp_bias=true"

FEATURES = {
    "has no windows": Rule(lambda c: not any(c.windowed), "model.sliding_window unset"),
    "has one base": Rule(lambda c: c.window_rope_theta is None, "model.window_rope_theta unset"),
    "scales scores by the heads' width": Rule(
        lambda c: c.attention_scale in (None, c.head_dim**-0.5), "model.attention_scale unset"
    ),
    "caps no scores": Rule(
        lambda c: c.attention_softcap is None and c.logit_softcap is None,
        "model.attention_softcap and model.logit_softcap unset",
    ),
    "does not scale embeddings": Rule(
        lambda c: c.embedding_scale in (None, 1.0), "model.embedding_scale unset"
    ),
    "has norms that scale by their weight": Rule(lambda c: not c.norm_offset, "model.norm_offset=false"),
    "has rotary positions": Rule(lambda c: c.position == "rotary", "model.position=rotary"),
    "does not normalise embeddings": Rule(lambda c: not c.embedding_norm, "model.embedding_norm=false"),
    "has the MLP after attention": Rule(lambda c: c.parallel == "no", "model.parallel=no"),
    "has no bias on scores": Rule(lambda c: not c.head_bias, "model.head_bias=false"),
    "has keys and values of their own": Rule(lambda c: c.latent is None, "no model.latent section"),
    "has experts in one group": Rule(lambda c: not c.moe or c.moe.n_group == 1, "model.moe.n_group=1"),
    "has no norm over all heads": Rule(lambda c: c.qk_norm != "all heads", "model.qk_norm=true"),
    "does not normalise what layers answer": Rule(lambda c: not c.sandwich, "model.sandwich=false"),
}
USUAL = tuple(FEATURES)

HEADS = {
    "has no head norms": Rule(lambda c: not c.qk_norm, "model.qk_norm=false"),
    "has head norms": Rule(lambda c: bool(c.qk_norm), "model.qk_norm=true"),
    "has norms over all heads together": Rule(
        lambda c: c.qk_norm == "all heads", "model.qk_norm='all heads'"
    ),
    "has heads that add up to the width": Rule(lambda c: not has_free_heads(c), "model.head_dim unset"),
    "wants heads that divide the width": Rule(
        lambda c: c.hidden_size % c.num_attention_heads == 0, "another model.num_attention_heads"
    ),
    "has a key head for each query head": Rule(
        lambda c: c.num_key_value_heads == c.num_attention_heads, "model.num_key_value_heads unset"
    ),
    "rotates whole heads": Rule(lambda c: c.partial_rotary_factor == 1.0, "model.partial_rotary_factor=1.0"),
    "stretches positions by longrope alone": Rule(
        lambda c: c.rope_scaling is None or c.rope_scaling.rope_type == "longrope",
        "model.rope_scaling unset",
    ),
    "has learned positions": Rule(lambda c: c.position == "learned", "model.position=learned"),
    "has rotary positions, or slopes as rounded as its own": Rule(
        lambda c: c.position in ("rotary", "rounded alibi"), "model.position=rotary"
    ),
    "has slopes for positions": Rule(lambda c: c.position == "alibi", "model.position=alibi"),
    "does not scale scores": Rule(lambda c: c.attention_scale == 1.0, "model.attention_scale=1.0"),
    "has windows in all layers or in none": Rule(
        lambda c: len(set(c.windowed)) == 1, "model.layer_types unset"
    ),
    "has windows in its last layers": Rule(
        lambda c: list(c.windowed) == sorted(c.windowed), "another model.layer_types"
    ),
    "tells keys and values from a narrow vector": Rule(
        lambda c: c.latent is not None, "a model.latent section"
    ),
}

BIASES = {
    "has no biases": Rule(lambda c: not (c.qkv_bias or c.output_bias or c.mlp_bias), NO_BIAS),
    "has biases everywhere": Rule(
        lambda c: c.qkv_bias and c.output_bias and c.mlp_bias and c.head_bias,
        EVERY_BIAS + " model.head_bias=true",
    ),
    "has biases everywhere but on scores": Rule(
        lambda c: c.qkv_bias and c.output_bias and c.mlp_bias and not c.head_bias,
        EVERY_BIAS + " model.head_bias=false",
    ),
    "has biases everywhere or nowhere": Rule(lambda c: c.qkv_bias == c.output_bias == c.mlp_bias, NO_BIAS),
    "has biases on all but queries, keys and values": Rule(
        lambda c: not c.qkv_bias and c.output_bias and c.mlp_bias,
        "model.qkv_bias=false model.output_bias=true model.mlp_bias=true",
    ),
    "has biases on queries, keys and values": Rule(lambda c: c.qkv_bias, "model.qkv_bias=true"),
    "has biases on queries, keys and values alone": Rule(
        lambda c: not (c.output_bias or c.mlp_bias), "model.output_bias=false model.mlp_bias=false"
    ),
    "has all of attention's biases or none": Rule(
        lambda c: c.qkv_bias == c.output_bias, "model.qkv_bias=false model.output_bias=false"
    ),
    "has MLP biases": Rule(lambda c: c.mlp_bias, "model.mlp_bias=true"),
    "has no MLP biases": Rule(lambda c: not c.mlp_bias, "model.mlp_bias=false"),
}

LAYERS = {
    "has RMSNorm, not LayerNorm": Rule(lambda c: c.norm == "rms", "model.norm=rms"),
    "has LayerNorm": Rule(lambda c: c.norm == "layer", "model.norm=layer"),
    "has a gated MLP": Rule(lambda c: c.gated, "model.gated=true"),
    "has a plain MLP": Rule(lambda c: not c.gated, "model.gated=false"),
    "has silu, not {cfg.activation}": Rule(lambda c: c.activation == "silu", "model.activation=silu"),
    "has gelu_tanh, not {cfg.activation}": Rule(
        lambda c: c.activation == "gelu_tanh", "model.activation=gelu_tanh"
    ),
    "has an MLP four times as wide": Rule(
        lambda c: c.intermediate_size == 4 * c.hidden_size, "another model.intermediate_size"
    ),
    "scales embeddings by the root of the width": Rule(
        lambda c: c.embedding_scale == c.hidden_size**0.5,
        "model.embedding_scale: the root of model.hidden_size",
    ),
    "has norms that count from one": Rule(lambda c: c.norm_offset, "model.norm_offset=true"),
    "normalises what layers answer": Rule(lambda c: c.sandwich, "model.sandwich=true"),
    "normalises embeddings": Rule(lambda c: c.embedding_norm, "model.embedding_norm=true"),
    "has the MLP beside attention, behind one norm": Rule(
        lambda c: c.parallel == "one norm", "model.parallel='one norm'"
    ),
    "has a norm for each of attention and the MLP": Rule(
        lambda c: c.parallel != "one norm", "model.parallel='two norms'"
    ),
    "has groups of heads beside the MLP only": Rule(
        lambda c: c.parallel != "no" or c.num_key_value_heads in (1, c.num_attention_heads),
        "model.parallel='two norms'",
    ),
}

EXPERTS = {
    "routes by softmax": Rule(lambda c: c.moe.router == "softmax", "model.moe.router=softmax"),
    "routes by sigmoid": Rule(lambda c: c.moe.router == "sigmoid", "model.moe.router=sigmoid"),
    "lets the shares of the chosen add up to one": Rule(
        lambda c: c.moe.norm_topk_prob, "model.moe.norm_topk_prob=true"
    ),
    "leaves the shares of the chosen as they are": Rule(
        lambda c: not c.moe.norm_topk_prob, "model.moe.norm_topk_prob=false"
    ),
    "does not scale what experts answer": Rule(
        lambda c: c.moe.routed_scaling_factor == 1.0, "model.moe.routed_scaling_factor=1.0"
    ),
    "has no shared experts": Rule(lambda c: not c.moe.num_shared_experts, "model.moe.num_shared_experts=0"),
    "has a shared expert": Rule(lambda c: c.moe.num_shared_experts > 0, "model.moe.num_shared_experts=1"),
    "has shared experts without a gate": Rule(
        lambda c: c.moe.num_shared_experts > 0 and not c.moe.shared_gated,
        "model.moe.num_shared_experts=1 model.moe.shared_gated=false",
    ),
    "has shared experts as wide as the routed": Rule(
        lambda c: c.moe.shared_width == c.moe.num_shared_experts * c.moe.moe_intermediate_size,
        "model.moe.shared_intermediate_size=0",
    ),
    "has experts in every layer": Rule(
        lambda c: not c.moe.first_dense_layers, "model.moe.first_dense_layers=0"
    ),
}

RULES: dict[str, Rule] = FEATURES | HEADS | BIASES | LAYERS | EXPERTS

LLAMA = ("has RMSNorm, not LayerNorm", "has a gated MLP", "has silu, not {cfg.activation}")
GPT = ("has LayerNorm", "has a plain MLP", "has no head norms", "has heads that add up to the width")
