"""What answers in bfloat16 reads a text as training's autocast does, to the bit."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from danlu.device import api
from danlu.generate import load, packed
from generate.models import KINDS, tiny, words

MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48}
LATENT = {"q_lora_rank": 32, "kv_lora_rank": 24, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8}
SHAPES = KINDS | {
    "sigmoid moe": {"moe": MOE | {"router": "sigmoid", "balance": "bias", "num_shared_experts": 1}},
    "latent": {"latent": LATENT | {"v_head_dim": 16}},
    "layer norm": {"norm": "layer", "qkv_bias": True, "parallel": "one norm"},
    "offset": {"norm_offset": True, "sandwich": True, "embedding_scale": 8.0, "logit_softcap": 30.0},
    "learned": {"position": "learned", "norm": "layer", "gated": False, "activation": "gelu_tanh"},
    "gated experts": {"moe": MOE | {"num_shared_experts": 1, "shared_gated": True}},
    "untied": {"tie_word_embeddings": False, "embedding_norm": True, "head_bias": True},
}


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("kind", SHAPES)
@torch.no_grad()
def test_a_text_is_read_to_the_bit_as_in_training(kind, device):
    here = api.choose(device)
    trained, tokens = tiny("plain", **SHAPES[kind]), torch.tensor(words(40, 40)).to(here.torch)
    generator = torch.Generator().manual_seed(1)
    for weight in trained.parameters():
        if weight.ndim == 1:  # norms and biases begin as numbers that nothing rounds
            weight.add_(torch.empty_like(weight).normal_(0.0, 0.1, generator=generator))
    trained.to(here.torch)
    with here.autocast(torch.bfloat16):
        expected = trained.logits(trained(tokens).hidden)
    answering = load.empty(trained.cfg, device, "bfloat16")
    answering.load_state_dict(trained.state_dict())
    packed.pack(answering)
    assert answering.head_weight.dtype is torch.bfloat16
    assert torch.equal(answering.logits(answering(tokens).hidden), expected)


@pytest.mark.parametrize(("has", "chosen"), [(True, "bfloat16"), (False, "auto")])
def test_weights_that_ask_for_it_are_served_otherwise_where_there_is_none(has, chosen, monkeypatch, tmp_path):
    monkeypatch.setattr(load.api, "choose", lambda _: SimpleNamespace(traits=SimpleNamespace(bf16=has)))
    told = {"architecture": "", "dtype": "bfloat16", "max_model_len": 8, "format": 1}
    (tmp_path / "serve.json").write_text(json.dumps(told))
    assert load.served_dtype(tmp_path, "auto", "npu") == chosen
    assert load.served_dtype(tmp_path, "float16", "npu") == "float16"
