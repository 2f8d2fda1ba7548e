"""Models that may stay: what no published architecture is like is kept in a layout of our own."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

import model_references as references
from danlu.base.errors import UserError
from danlu.model import weights
from danlu.model.build import build_empty
from danlu.model.config import architecture, describe, read_hf, resolve
from danlu.model.families import choose
from model_oracle import read
from model_shapes import BASE, EXPERTS, model

transformers = pytest.importorskip("transformers")

SLOPED = {
    "model_type": "baichuan",
    "model_max_length": 128,
    "vocab_size": 301,
    "hidden_size": 48,
    "intermediate_size": 112,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
}


def test_baichuan_13b_has_slopes_and_cannot_leave(tmp_path, capsys):
    references.publish(tmp_path, SLOPED, 0.02)
    ours = read(tmp_path)
    read_hf(tmp_path)
    said = [line for line in capsys.readouterr().err.splitlines() if "never exported" in line]
    assert len(said) == 1 and "has rotary positions" in said[0]
    with pytest.raises(UserError, match="has rotary positions"):
        choose(ours.cfg)
    assert ours.cfg.may_stay and describe(ours.cfg).startswith("ours alone, never exported")


def test_what_may_stay_is_kept_in_a_layout_of_our_own_that_others_refuse(tmp_path):
    references.publish(tmp_path, SLOPED, 0.02)
    ours = read(tmp_path)
    (tmp_path / "out").mkdir()
    weights.save(ours.state_dict(), ours.cfg, tmp_path / "out")
    again = build_empty(read_hf(tmp_path / "out"))
    weights.load(tmp_path / "out", again)
    assert again.cfg == ours.cfg
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    with pytest.raises(ValueError, match="danlu"):
        transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")


def test_experts_that_may_stay_lie_on_the_disk_as_one_stack(tmp_path):
    shape = BASE | {"position": "alibi", "moe": EXPERTS}
    with pytest.raises(UserError, match="no published architecture") as refusal:
        resolve(shape)
    assert "model.may_stay=true" in refusal.value.hint
    cfg = resolve(shape | {"may_stay": True})
    made = model(cfg)
    weights.save(made.state_dict(), cfg, tmp_path)
    assert load_file(tmp_path / "model.safetensors").keys() == made.state_dict().keys()
    again = model(read_hf(tmp_path), seed=1)
    weights.load(tmp_path, again)
    for name, tensor in made.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_a_model_that_may_stay_and_can_leave_does(tmp_path):
    assert architecture(resolve(BASE | {"may_stay": True})) == architecture(resolve(BASE))
