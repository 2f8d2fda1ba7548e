"""Families that transformers does not have: read against references written from their formulas."""

from __future__ import annotations

import json
import math

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from danlu.base.errors import UserError
from danlu.model import weights
from danlu.model.build import build_empty
from danlu.model.config import architecture, describe, read_hf, resolve
from danlu.model.families import choose
from model_shapes import BASE, EXPERTS, model

transformers = pytest.importorskip("transformers")

SHAPE = {
    "vocab_size": 301,
    "hidden_size": 48,
    "intermediate_size": 112,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
}
TOKENS_BT = torch.randint(0, 301, (2, 33), generator=torch.Generator().manual_seed(0))


def llama(**changes):
    """A random Llama of transformers, biases and all, and its weights."""
    torch.manual_seed(0)
    keys = {"max_position_embeddings": 128, "tie_word_embeddings": False, **SHAPE, **changes}
    made = transformers.LlamaForCausalLM(transformers.LlamaConfig(**keys)).eval()
    for name, tensor in made.named_parameters():
        tensor.data.normal_(1.0 if "norm" in name else 0.0, 0.1)
    return made, {name: tensor.clone() for name, tensor in made.state_dict().items()}


def read(folder, state, described):
    """Return what we make of these files."""
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(described))
    made = build_empty(read_hf(folder))
    weights.load(folder, made)
    return made.eval()


@torch.no_grad()
def check(ours, wanted_BTV):
    found_BTV = ours.logits(ours(TOKENS_BT).hidden)
    assert float((found_BTV - wanted_BTV).abs().max()) <= 1e-5 * float(wanted_BTV.abs().max())


def written_as(ours, folder):
    """Return the logits of what we write, read by transformers."""
    weights.save(ours.state_dict(), ours.cfg, folder)
    return transformers.AutoModelForCausalLM.from_pretrained(folder)


@pytest.mark.parametrize("bias", [True, False])
def test_internlm_is_a_llama_with_biases(bias, tmp_path):
    theirs, state = llama(attention_bias=bias, num_key_value_heads=6)
    described = {**SHAPE, "model_type": "internlm", "max_position_embeddings": 128, "bias": bias}
    ours = read(tmp_path, state, described)
    check(ours, theirs(TOKENS_BT).logits)
    (tmp_path / "out").mkdir()
    check(ours, written_as(ours, tmp_path / "out")(TOKENS_BT).logits)


def test_internlm2_packs_each_group_of_heads(tmp_path):
    theirs, state = llama(num_key_value_heads=2)
    packed = {}
    for name, tensor in state.items():
        if ".q_proj." in name:
            own = name.replace("q_proj", "{}")
            q, k, v = (state[own.format(f"{letter}_proj")].split(8) for letter in "qkv")
            rows = [*q[0:3], k[0], v[0], *q[3:6], k[1], v[1]]
            packed[name.replace("self_attn.q_proj", "attention.wqkv")] = torch.cat(rows)
        elif ".k_proj." not in name and ".v_proj." not in name:
            for ours, them in [
                ("model.embed_tokens", "model.tok_embeddings"),
                ("lm_head", "output"),
                ("self_attn.o_proj", "attention.wo"),
                ("mlp.gate_proj", "feed_forward.w1"),
                ("mlp.down_proj", "feed_forward.w2"),
                ("mlp.up_proj", "feed_forward.w3"),
                ("input_layernorm", "attention_norm"),
                ("post_attention_layernorm", "ffn_norm"),
            ]:
                name = name.replace(ours, them)
            packed[name] = tensor
    described = {
        **SHAPE,
        "model_type": "internlm2",
        "max_position_embeddings": 128,
        "num_key_value_heads": 2,
        "bias": False,
    }
    ours = read(tmp_path, packed, described)
    check(ours, theirs(TOKENS_BT).logits)
    assert architecture(ours.cfg) == "LlamaForCausalLM"


def w_pack(state):
    packed = {
        name: tensor for name, tensor in state.items() if name.split(".")[-2] not in ("k_proj", "v_proj")
    }
    for name in [name for name in packed if ".q_proj." in name]:
        parts = [state[name.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
        packed[name.replace("q_proj", "W_pack")] = torch.cat(parts)
        del packed[name]
    return packed


@pytest.mark.parametrize("words", [301, 125696])
def test_baichuan_7b_is_a_llama_and_the_second_divides_its_head(words, tmp_path):
    theirs, state = llama(num_key_value_heads=6, vocab_size=words)
    ours = read(
        tmp_path,
        w_pack(state),
        {**SHAPE, "model_type": "baichuan", "max_position_embeddings": 128, "vocab_size": words},
    )
    if words == 125696:
        theirs.lm_head.weight.data = F.normalize(theirs.lm_head.weight.data)
    check(ours, theirs(TOKENS_BT).logits)
    assert architecture(ours.cfg) == "LlamaForCausalLM"


@torch.no_grad()
def sloped_llama(state, tokens_BT):
    """Llama's layers with slopes in place of rotary positions, from the papers' formulas."""

    def norm(x, name):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * state[f"{name}.weight"]

    x = state["model.embed_tokens.weight"][tokens_BT]
    T, H = tokens_BT.shape[1], 6
    # The slopes of 4 heads, and of every other one of 8 for the two that are left.
    slopes = [2 ** (-2 * n) for n in (1, 2, 3, 4)] + [2**-1, 2**-3]
    distance = torch.arange(T)[None] - torch.arange(T)[:, None]
    hidden = torch.full((T, T), -math.inf).triu(1)
    for layer in range(SHAPE["num_hidden_layers"]):
        own = f"model.layers.{layer}"
        read = norm(x, f"{own}.input_layernorm")
        q, k, v = (
            (read @ state[f"{own}.self_attn.{letter}_proj.weight"].T)
            .view(*tokens_BT.shape, H, 8)
            .transpose(1, 2)
            for letter in "qkv"
        )
        scores = q @ k.mT / math.sqrt(8) + hidden + torch.tensor(slopes)[:, None, None] * distance
        answer = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = x + answer @ state[f"{own}.self_attn.o_proj.weight"].T
        read = norm(x, f"{own}.post_attention_layernorm")
        gate, up = (read @ state[f"{own}.mlp.{which}_proj.weight"].T for which in ("gate", "up"))
        x = x + (F.silu(gate) * up) @ state[f"{own}.mlp.down_proj.weight"].T
    return norm(x, "model.norm") @ state["lm_head.weight"].T


def test_baichuan_13b_has_slopes_and_cannot_leave(tmp_path, capsys):
    _, state = llama(num_key_value_heads=6)
    ours = read(tmp_path, w_pack(state), {**SHAPE, "model_type": "baichuan", "model_max_length": 128})
    check(ours, sloped_llama(state, TOKENS_BT))
    read_hf(tmp_path)
    said = [line for line in capsys.readouterr().err.splitlines() if "never exported" in line]
    assert len(said) == 1 and "has rotary positions" in said[0]
    with pytest.raises(UserError, match="has rotary positions"):
        choose(ours.cfg)
    assert ours.cfg.may_stay and describe(ours.cfg).startswith("ours alone, never exported")


def test_what_may_stay_is_kept_in_a_layout_of_our_own_that_others_refuse(tmp_path):
    _, state = llama(num_key_value_heads=6)
    ours = read(tmp_path, w_pack(state), {**SHAPE, "model_type": "baichuan", "model_max_length": 128})
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


def test_the_first_deepseek_leaves_as_qwen2_moe(tmp_path):
    """Its reference is a Qwen2-MoE whose gate is zero, which halves what the shared expert says."""
    torch.manual_seed(0)
    moe = {"num_experts_per_tok": 2, "moe_intermediate_size": 40, "norm_topk_prob": False}
    keys = {**SHAPE, **moe, "num_experts": 5, "max_position_embeddings": 128, "mlp_only_layers": [0]}
    theirs = transformers.Qwen2MoeForCausalLM(
        transformers.Qwen2MoeConfig(**keys, shared_expert_intermediate_size=80, num_key_value_heads=6)
    ).eval()
    state = {}
    for name, tensor in theirs.named_parameters():
        nothing = name.endswith(".bias") or "shared_expert_gate" in name
        tensor.data.normal_(1.0 if "norm" in name else 0.0, 0.0 if nothing else 0.1)
        for expert in range(5 if ".experts." in name else 0):
            own = name.rsplit(".", 1)[0] + f".{expert}."
            parts = {"down": tensor[expert]}
            if name.endswith("gate_up_proj"):
                parts = dict(zip(("gate", "up"), tensor[expert].chunk(2)))
            state |= {f"{own}{which}_proj.weight": part.detach() for which, part in parts.items()}
        if not nothing and ".experts." not in name:
            half = 0.5 if "shared_expert.down_proj" in name else 1.0
            state[name.replace(".shared_expert.", ".shared_experts.")] = tensor.detach() * half
    described = {**SHAPE, **moe, "model_type": "deepseek", "max_position_embeddings": 128}
    described |= {"n_routed_experts": 5, "n_shared_experts": 2, "first_k_dense_replace": 1}
    ours = read(tmp_path, state, described)
    check(ours, theirs(TOKENS_BT).logits)
    (tmp_path / "out").mkdir()
    check(ours, written_as(ours, tmp_path / "out")(TOKENS_BT).logits)
    assert architecture(ours.cfg) == "Qwen2MoeForCausalLM"
