"""What published files hold beside weights, or name otherwise, is known; anything else is refused."""

from __future__ import annotations

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from danlu.base.errors import UserError
from danlu.model import weights
from danlu.model.families import FAMILIES, get, to_hf
from model_oracle import read
from model_shapes import SHAPES, config, model

LEFT = {  # tables and masks that early versions saved, by the shape of `model_shapes` they belong to
    "llama": ["model.layers.0.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq"],
    "mistral": ["model.layers.2.self_attn.rotary_emb.inv_freq"],
    "gpt2": ["transformer.h.0.attn.bias", "transformer.h.1.attn.masked_bias"],
    "gpt_neo": ["transformer.h.0.attn.attention.bias", "transformer.h.1.attn.attention.masked_bias"],
    "gpt_neox": [
        "gpt_neox.layers.0.attention.bias",
        "gpt_neox.layers.0.attention.masked_bias",
        "gpt_neox.layers.2.attention.rotary_emb.inv_freq",
    ],
    "deepseek_v2": ["model.layers.1.self_attn.rotary_emb.inv_freq"],
}
AHEAD = ["eh_proj.weight", "enorm.weight", "shared_head.head.weight", "mlp.gate.weight"]


def threes(names):
    return {name: torch.ones(3) for name in names}


def rewritten(folder, change):
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, {"format": "pt"})


def foreign(folder, name):
    """Write a model of `model_shapes` as if others had; return it."""
    cfg = config(name)
    ours = model(cfg)
    weights.save(ours.state_dict(), cfg, folder)
    described = {key: value for key, value in to_hf(cfg).items() if key != "danlu"}
    (folder / "config.json").write_text(json.dumps(described))
    return ours


def alike(folder, ours):
    again = read(folder).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in ours.state_dict().items())


@pytest.mark.parametrize("name", LEFT)
def test_tables_that_follow_from_the_config_are_passed_over(name, tmp_path):
    ours = foreign(tmp_path, name)
    rewritten(tmp_path, lambda state: state | threes(LEFT[name]))
    alike(tmp_path, ours)


@pytest.mark.parametrize("name", ["gpt2", "bloom", "gpt_neo", "falcon, one key head"])
def test_the_first_component_may_be_missing(name, tmp_path):
    ours = foreign(tmp_path, name)

    def short(state):
        whole = state | threes(LEFT.get(name, []))
        return {key.removeprefix("transformer."): tensor for key, tensor in whole.items()}

    rewritten(tmp_path, short)
    alike(tmp_path, ours)


@pytest.mark.parametrize("name", ["deepseek_v3", "glm4_moe"])
def test_layers_that_predict_further_ahead_are_left_out_and_that_is_said(name, tmp_path, capsys):
    ours = foreign(tmp_path, name)
    beyond = [f"model.layers.{ours.cfg.num_hidden_layers}.{own}" for own in AHEAD]
    rewritten(tmp_path, lambda state: state | threes(beyond))
    alike(tmp_path, ours)
    assert "further ahead" in capsys.readouterr().err


@pytest.mark.parametrize("model_type", [kind for kind in FAMILIES if kind in SHAPES])
def test_a_weight_nobody_reads_is_refused(model_type, tmp_path):
    foreign(tmp_path, model_type)
    rewritten(tmp_path, lambda state: state | threes(["model.layers.0.self_attn.sink.bias"]))
    with pytest.raises(UserError, match=r"layers\.0\.self_attn\.sink\.bias"):
        read(tmp_path)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_no_weight_of_a_family_counts_as_saying_nothing(model_type):
    family = get(model_type)
    for name in SHAPES:
        cfg = config(name)
        if family.is_moe == (cfg.moe is not None) and not family.why_not(cfg):
            for ours in model(cfg).state_dict():
                for part in family.parts(ours, cfg):
                    assert not any(re.fullmatch(pattern, part.name) for pattern in family.unread), part.name
                    assert not family.left_out(part.name, cfg)
