"""Families that transformers does not have, in awkward shapes, against their published formulas."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import model_references as references
from danlu.base.errors import UserError
from danlu.model import weights
from danlu.model.config import architecture
from danlu.model.families import choose, get
from model_oracle import (
    ANSWER,
    LIMITS,
    PROMPTS,
    answers_alike,
    farthest,
    gradient_gap,
    logits,
    nll,
    read,
    tokens,
)
from model_pieces import WORDS

transformers = pytest.importorskip("transformers")

BASE: dict[str, Any] = {
    "vocab_size": WORDS,
    "num_hidden_layers": 3,
    "intermediate_size": 56,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}
THREE = {"hidden_size": 36, "num_attention_heads": 3}
FIVE = {"hidden_size": 40, "num_attention_heads": 5}
ELEVEN = {"hidden_size": 44, "num_attention_heads": 11}
SIX = {"hidden_size": 48, "num_attention_heads": 6}
LONG, SHORT = {"max_position_embeddings": 128}, {"max_position_embeddings": PROMPTS[-1] + ANSWER}
SLOPES = {"model_max_length": 128}
SECOND = {"vocab_size": 125696, "num_hidden_layers": 2}
EXPERTS = {
    "n_routed_experts": 5,
    "n_shared_experts": 2,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "first_k_dense_replace": 1,
    "norm_topk_prob": False,
}

GRID: dict[str, dict[str, dict[str, Any]]] = {
    "baichuan": {
        "7B, three heads": THREE | LONG,
        "7B, five heads": FIVE | LONG,
        "13B, five heads": FIVE | SLOPES,
        "13B, eleven heads": ELEVEN | SLOPES,
        "second 7B": SIX | LONG | SECOND,
        "second 13B": THREE | SLOPES | SECOND,
    },
    "internlm": {
        "three heads, biases": THREE | LONG | {"bias": True, "rotary": {"base": 5000, "type": "origin"}},
        "five heads": FIVE | LONG | {"bias": False},
        "six heads, biases, tied": SIX | LONG | {"bias": True, "tie_word_embeddings": True},
        "dynamic": THREE | SHORT | {"bias": True, "rotary": {"base": 10000, "type": "dynamic"}},
    },
    "internlm2": {
        "groups of three": SIX | LONG | {"num_key_value_heads": 2, "bias": False, "rope_theta": 1e6},
        "five on one, biases": FIVE | LONG | {"num_key_value_heads": 1, "bias": True},
        "three heads": THREE | LONG | {"num_key_value_heads": 3, "bias": False},
        "dynamic": SIX
        | SHORT
        | {"num_key_value_heads": 3, "bias": False, "rope_scaling": {"type": "dynamic", "factor": 2.0}},
    },
    "deepseek": {
        "groups of three, dense first": SIX | LONG | EXPERTS | {"num_key_value_heads": 2},
        "five on one, one expert": FIVE
        | LONG
        | EXPERTS
        | {"num_key_value_heads": 1, "num_experts_per_tok": 1, "norm_topk_prob": True, "n_shared_experts": 1},
        "all experts, no dense layers": THREE
        | LONG
        | EXPERTS
        | {"num_key_value_heads": 3, "num_experts_per_tok": 5, "first_k_dense_replace": 0},
        "shares add up to one": SIX | LONG | EXPERTS | {"num_key_value_heads": 6, "norm_topk_prob": True},
    },
}
CASES = [
    pytest.param({"model_type": family} | BASE | shape, id=f"{family}, {name}")
    for family, shapes in GRID.items()
    for name, shape in shapes.items()
]
LEAVES_AS = {"deepseek": "Qwen2MoeForCausalLM"}


@pytest.mark.parametrize("std", LIMITS)
@pytest.mark.parametrize("described", CASES)
def test_what_is_read_is_the_formula_and_leaves_as_what_transformers_has(described, std, tmp_path):
    limit, part = LIMITS[std]
    theirs = references.publish(tmp_path, described, std)
    tokens_BT = tokens(described["vocab_size"])
    theirs_BTV = references.logits(theirs, described, tokens_BT)
    ours = read(tmp_path)
    assert farthest(logits(ours, tokens_BT), theirs_BTV) <= limit
    nll(theirs_BTV, tokens_BT).backward()
    gradients = {name: tensor.grad for name, tensor in theirs.items() if tensor.grad is not None}
    gap, where = gradient_gap(ours, tokens_BT, gradients, get(described["model_type"]))
    assert gap <= part, where
    if "model_max_length" in described:
        with pytest.raises(UserError, match="has rotary positions"):
            choose(ours.cfg)
        return
    assert architecture(ours.cfg) == LEAVES_AS.get(described["model_type"], "LlamaForCausalLM")
    (tmp_path / "out").mkdir()
    weights.save(ours.state_dict(), ours.cfg, tmp_path / "out")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert farthest(again(tokens_BT).logits, theirs_BTV) <= limit


@pytest.mark.parametrize("described", CASES)
@torch.no_grad()
def test_cached_answers_are_the_formulas(described, tmp_path):
    std = 0.2
    theirs = references.publish(tmp_path, described, std)

    def whole(prompt: list[int]) -> list[int]:
        text = list(prompt)
        for _ in range(ANSWER):
            text.append(int(references.logits(theirs, described, torch.tensor([text]))[0, -1].argmax()))
        return text[len(prompt) :]

    answers_alike(read(tmp_path), whole, LIMITS[std][0])
