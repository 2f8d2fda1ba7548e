"""Every mixture of experts that can be asked for leaves exactly, or is refused with reason and way out."""

from __future__ import annotations

import itertools
import shlex

import pytest
import torch
import yaml

from danlu.base.errors import UserError
from danlu.model import weights
from danlu.model.config import architecture, resolve
from model_oracle import farthest, logits, tokens
from model_shapes import model

transformers = pytest.importorskip("transformers")

SMALL = {
    "vocab_size": 61,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
}
EXPERTS = {"num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 12}
BIASES = {
    "no biases": {},
    "biases on queries, keys, values": {"qkv_bias": True},
    "biases on all of attention": {"qkv_bias": True, "output_bias": True},
}
SHARED = [(0, False), (1, False), (1, True), (2, False), (2, True)]


def leaves_as(qk_norm, biases, shared, gated, router, renormalised, dense):
    """Return what published architectures there are, in one place and other words than the rules'."""
    on_output = biases == "biases on all of attention"
    if router == "sigmoid":
        return "Glm4MoeForCausalLM" if shared and not gated and not on_output else None
    if qk_norm:
        alike = biases != "biases on queries, keys, values"
        return "Qwen3MoeForCausalLM" if alike and not shared else None
    if shared:
        return None if on_output else "Qwen2MoeForCausalLM"
    plain = biases == "no biases" and renormalised and not dense
    return "MixtralForCausalLM" if plain else None


def followed(shape, way):
    """Return a shape changed as a hint says."""
    changed = shape | {"moe": dict(shape["moe"])}
    for word in shlex.split(way):
        key, value = word.removeprefix("model.").split("=", 1)
        section, inner = (changed["moe"], key[4:]) if key.startswith("moe.") else (changed, key)
        section[inner] = yaml.safe_load(value)
    return changed


@pytest.mark.parametrize("dense", [0, 1])
@pytest.mark.parametrize("renormalised", [False, True])
@pytest.mark.parametrize("router", ["softmax", "sigmoid"])
@pytest.mark.parametrize("shared, gated", SHARED)
@pytest.mark.parametrize("biases", BIASES)
@pytest.mark.parametrize("qk_norm", [False, True])
@torch.no_grad()
def test_it_leaves_exactly_or_is_refused(
    qk_norm, biases, shared, gated, router, renormalised, dense, tmp_path
):
    moe = EXPERTS | {
        "router": router,
        "num_shared_experts": shared,
        "shared_gated": gated,
        "norm_topk_prob": renormalised,
        "first_dense_layers": dense,
    }
    shape = SMALL | BIASES[biases] | {"qk_norm": qk_norm, "moe": moe}
    wanted = leaves_as(qk_norm, biases, shared, gated, router, renormalised, dense)
    if wanted is None:
        with pytest.raises(UserError, match="no published architecture is like this: .+") as refusal:
            resolve(shape)
        *ways, here = refusal.value.hint.split(", or ")
        assert ways and here.startswith("model.may_stay=true")
        for way in ways:
            resolve(followed(shape, way))
        return
    cfg = resolve(shape)
    assert architecture(cfg) == wanted
    ours = model(cfg)
    weights.save(ours.state_dict(), cfg, tmp_path)
    theirs, told = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert type(theirs).__name__ == wanted
    assert not any(told[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), told
    tokens_BT = tokens(cfg.vocab_size, length=17)
    assert farthest(logits(ours, tokens_BT), theirs(tokens_BT).logits) <= 1e-5


def test_the_grid_names_every_way_out_there_is():
    grid = itertools.product([False, True], BIASES, SHARED, ["softmax", "sigmoid"], [False, True], [0, 1])
    found = {leaves_as(qk, biases, *shared, *rest) for qk, biases, shared, *rest in grid}
    assert len(found) == 5 and None in found
