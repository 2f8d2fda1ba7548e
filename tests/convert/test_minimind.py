"""MiniMind's files are read as what MiniMind computes, and written back bit by bit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import minimind_reference as reference
from convert import minimind
from convert.minimind import Hints
from convert.minimind_lora import holds_model, merge, read_lora, write_lora
from danlu.base.errors import UserError
from danlu.model import weights
from danlu.model.build import build_empty
from danlu.model.config import resolve
from danlu.model.decoder import Decoder
from minimind_reference import Small

MODELS = {
    "2": Small("2"),
    "2, 4 heads": Small("2", heads=4, head=12, kv=4),
    "2, MoE": Small("2", experts=4, shared=1),
    "2, MoE, two shared": Small("2", experts=5, shared=2, chosen=3),
    "2, MoE, none shared": Small("2", experts=4),
    "2, MoE, one expert alone": Small("2", experts=4, shared=1, chosen=1),
    "2, MoE, shares as they are": Small("2", experts=4, shared=1, sum_to_one=False),
    "3": Small("3", kv=4, eps=1e-6),
    "3, untied": Small("3", kv=4, eps=1e-6, tied=False),
    "3, wide heads, other base": Small("3", heads=4, kv=1, head=16, eps=1e-6, theta=1e4),
    "3, MoE": Small("3", kv=4, eps=1e-6, experts=4, chosen=1),
    "3, MoE, two experts": Small("3", kv=4, eps=1e-6, experts=4, chosen=2),
}
TOKENS = torch.tensor([5, 91, 3, 3, 40, 17, 0, 62])


def hints(small: Small) -> Hints:
    """What the file of such a model does not say and its generation's defaults would get wrong."""
    usual = small.generation == "3"
    return Hints(
        num_attention_heads=None if usual or small.heads == 8 else small.heads,
        num_experts_per_tok=small.chosen if small.experts and small.chosen != (1 if usual else 2) else None,
        rope_theta=None if small.theta == 1e6 else small.theta,
        norm_topk_prob=None if small.sum_to_one else False,
    )


def saved(path: Path, state: Any) -> Path:
    torch.save(state, path)
    return path


def decoder(found: minimind.Found, state: Any = None) -> Decoder:
    model = build_empty(found.cfg)
    model.load_state_dict(state or found.state, strict=True)
    return model.eval()


@torch.no_grad()
def logits(model: Decoder, tokens_T: Tensor = TOKENS) -> Tensor:
    return model.logits(model(tokens_T[None]).hidden)[0]


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours.double(), theirs.double(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_read_as_what_minimind_computes(name, tmp_path):
    small = MODELS[name]
    state = reference.made(small)
    found = minimind.read(saved(tmp_path / "a.pth", state), hints(small))
    assert found.generation == small.generation and found.dtype == torch.float16
    close(logits(decoder(found)), reference.logits(state, small, TOKENS))


@pytest.mark.parametrize("name", MODELS)
def test_what_was_read_is_written_back_bit_by_bit(name, tmp_path):
    state = reference.made(MODELS[name])
    found = minimind.read(saved(tmp_path / "a.pth", state), hints(MODELS[name]))
    minimind.write(found.state, found.cfg, tmp_path / "new" / "b.pth")
    again = torch.load(tmp_path / "new" / "b.pth", weights_only=True)
    assert list(again) == list(state)
    for key, tensor in state.items():
        assert again[key].dtype == tensor.dtype and torch.equal(again[key], tensor), key
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / "b.pth"]


def test_experts_bring_only_themselves_into_the_file(tmp_path):
    state = reference.made(MODELS["2, MoE, two shared"])
    found = minimind.read(saved(tmp_path / "a.pth", state), hints(MODELS["2, MoE, two shared"]))
    minimind.write(found.state, found.cfg, tmp_path / "b.pth")
    assert (tmp_path / "b.pth").stat().st_size <= (tmp_path / "a.pth").stat().st_size


@pytest.mark.parametrize("name", ["2", "2, MoE, two shared", "3, untied", "3, MoE"])
def test_a_model_goes_through_our_own_files_unchanged(name, tmp_path):
    state = reference.made(MODELS[name])
    found = minimind.read(saved(tmp_path / "a.pth", state), hints(MODELS[name]))
    (tmp_path / "ours").mkdir()
    weights.save(found.state, found.cfg, tmp_path / "ours")
    ours = weights.read_state(tmp_path / "ours", torch.float16)
    minimind.write(ours, weights.read_config(tmp_path / "ours"), tmp_path / "b.pth")
    again = torch.load(tmp_path / "b.pth", weights_only=True)
    assert all(torch.equal(again[key], tensor) for key, tensor in state.items())


@pytest.mark.parametrize(
    "small",
    [
        Small("1", heads=16, kv=8, width=96, theta=1e4),
        Small("1"),
        Small("1", experts=4, shared=1),
    ],
    ids=["2024", "2025", "2025, MoE"],
)
def test_the_first_generation_is_read_and_leaves_as_the_second(small, tmp_path):
    state = reference.made(small)
    early = reference.first(state) | {"pos_cis": torch.zeros(3, dtype=torch.complex64)}
    found = minimind.read(saved(tmp_path / "a.pth", early))
    assert found.generation == "1" and found.cfg.num_attention_heads == small.heads
    theirs = reference.logits(state, small, TOKENS)
    close(logits(decoder(found)), theirs)
    minimind.write(found.state, found.cfg, tmp_path / "b.pth")
    told = Hints(num_attention_heads=small.heads, rope_theta=small.theta)
    second = minimind.read(tmp_path / "b.pth", told)
    assert second.generation == "2"
    close(logits(decoder(second)), theirs)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_wrappers_and_rotary_tables_are_looked_through(prefix, tmp_path):
    state = reference.made(MODELS["3"])
    wrapped = {prefix + name: tensor for name, tensor in state.items()}
    wrapped |= {prefix + f"model.freqs_{kind}": torch.ones(4, 4) for kind in ("cos", "sin")}
    found = minimind.read(saved(tmp_path / "a.pth", wrapped))
    assert torch.equal(found.state["model.norm.weight"], state["model.norm.weight"])


def test_a_checkpoint_to_resume_from_is_its_model(tmp_path):
    state = reference.made(MODELS["2"])
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    resume = {"model": state, "optimizer": optimizer.state_dict(), "epoch": 0, "step": 7, "wandb_id": None}
    found = minimind.read(saved(tmp_path / "a_resume.pth", resume))
    assert torch.equal(found.state["model.norm.weight"], state["model.norm.weight"])


def test_what_no_tensor_tells_is_reported_as_assumed(tmp_path):
    moe = saved(tmp_path / "a.pth", reference.made(MODELS["2, MoE"]))
    assert minimind.read(moe).assumed == {
        "num_attention_heads": 8,
        "num_experts_per_tok": 2,
        "norm_topk_prob": True,
        "rope_theta": 1e6,
        "max_position_embeddings": 32768,
        "norm_eps": 1e-5,
    }
    newest = minimind.read(saved(tmp_path / "b.pth", reference.made(MODELS["3"])), Hints(rope_theta=1e4))
    assert newest.assumed == {"max_position_embeddings": 32768, "norm_eps": 1e-6}
    assert newest.cfg.rope_theta == 1e4


def test_stretched_positions_are_asked_for_not_found(tmp_path):
    path = saved(tmp_path / "a.pth", reference.made(MODELS["2"]))
    stretched = minimind.read(path, Hints(rope_scaling=True)).cfg
    assert stretched.rope_scaling and stretched.rope_scaling.factor == 16
    assert minimind.settings(stretched, "2")["inference_rope_scaling"]
    assert minimind.read(path).cfg.rope_scaling is None
    short = Hints(rope_scaling=True, max_position_embeddings=2048)
    assert minimind.read(path, short).cfg.rope_scaling is None


def test_the_shipped_presets_are_what_minimind_writes(tmp_path):
    for preset in ("minimind", "minimind-moe"):
        cfg = resolve({"preset": preset, "num_hidden_layers": 1, "vocab_size": 64})
        state = {name: tensor.half() for name, tensor in build_empty(cfg).state_dict().items()}
        for tensor in state.values():
            tensor.zero_()
        minimind.write(state, cfg, tmp_path / "a.pth")
        assert minimind.read(tmp_path / "a.pth").cfg == cfg


# Adapters


@pytest.mark.parametrize("name", ["2", "3", "3, MoE"])
def test_an_adapter_merged_computes_what_minimind_computes_with_it(name, tmp_path):
    small = MODELS[name]
    state, adapter = reference.made(small, dtype=torch.float32), reference.adapter(small)
    found = minimind.read(saved(tmp_path / "a.pth", state), hints(small))
    lora = read_lora(saved(tmp_path / "lora.pth", {f"module.{key}": value for key, value in adapter.items()}))
    assert lora.rank == 4 and not holds_model(tmp_path / "lora.pth")
    added = dict(state)
    for module in {key.rpartition(".lora.")[0] for key in adapter}:
        a, b = (adapter[f"{module}.lora.{letter}.weight"].float() for letter in "AB")
        added[f"{module}.weight"] = added[f"{module}.weight"] + b @ a
    theirs = reference.logits(added, small, TOKENS)
    assert (theirs - reference.logits(state, small, TOKENS)).abs().max() > 0.01
    close(logits(decoder(found, merge(found.state, lora))), theirs)


def test_an_adapter_is_written_as_peft_has_it(tmp_path):
    adapter = reference.adapter(MODELS["2"])
    write_lora(read_lora(saved(tmp_path / "lora.pth", adapter)), tmp_path / "peft")
    config = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["target_modules"]) == (4, 4, ["o_proj", "q_proj"])
    written = load_file(tmp_path / "peft" / "adapter_model.safetensors")
    assert len(written) == len(adapter)
    for key, tensor in adapter.items():
        ours = "base_model.model." + key.replace(".lora.A", ".lora_A").replace(".lora.B", ".lora_B")
        assert torch.equal(written[ours], tensor), key


def test_an_adapter_among_the_weights_is_found_beside_them(tmp_path):
    small = MODELS["3"]
    both = reference.made(small) | reference.adapter(small)
    found = minimind.read(saved(tmp_path / "a.pth", {"model": both, "step": 3}))
    assert found.lora and len(found.lora.pairs) == 4 and holds_model(tmp_path / "a.pth")


# Refusals


def refused(path: Path, told: Hints | None = None) -> UserError:
    with pytest.raises(UserError) as caught:
        minimind.read(path, told)
    assert str(path) in caught.value.problem and caught.value.hint
    return caught.value


def test_a_file_cut_short_is_named(tmp_path):
    whole = saved(tmp_path / "a.pth", reference.made(MODELS["2"])).read_bytes()
    for size in (len(whole) // 2, len(whole) - 30):
        (tmp_path / "b.pth").write_bytes(whole[:size])
        assert "breaks off" in refused(tmp_path / "b.pth").problem
    for rest in (b"", b"not a model at all"):
        (tmp_path / "c.pth").write_bytes(rest)
        assert "cannot be read" in refused(tmp_path / "c.pth").problem
    assert "no such file" in refused(tmp_path / "d.pth").problem


class Trap:
    """What unpickling would run."""

    sprung = False

    @staticmethod
    def spring() -> None:
        Trap.sprung = True

    def __reduce__(self) -> Any:
        return Trap.spring, ()


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_never_runs(zipped, tmp_path):
    state = reference.made(MODELS["2"]) | {"extra": Trap()}
    torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    assert "would run the code inside" in refused(tmp_path / "a.pth").problem
    whole = saved(tmp_path / "b.pth", torch.nn.Linear(2, 2))
    assert "would run the code inside" in refused(whole).problem
    assert not Trap.sprung


def test_files_from_before_zip_archives_are_read(tmp_path):
    torch.save(reference.made(MODELS["2"]), tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    assert minimind.read(tmp_path / "a.pth").generation == "2"


def test_every_tensor_is_accounted_for(tmp_path):
    state = reference.made(MODELS["2, MoE"])
    bias = "model.layers.1.self_attn.q_proj.bias"
    unread = refused(saved(tmp_path / "a.pth", state | {bias: torch.zeros(48)}))
    assert f"{bias}: has no place" in unread.problem
    for gone in (
        "model.embed_tokens.weight",
        "model.layers.1.mlp.experts.3.up_proj.weight",
        "model.layers.0.mlp.gate.weight",
    ):
        rest = {name: tensor for name, tensor in state.items() if name != gone}
        assert "is missing" in refused(saved(tmp_path / "b.pth", rest)).problem
    up = "model.layers.1.mlp.experts.3.up_proj.weight"
    other = refused(saved(tmp_path / "c.pth", state | {up: torch.zeros(60, 48)}))
    assert f"{up}: is (60, 48), the rest of the model wants (64, 48)" in other.problem


def test_a_forged_count_is_not_believed(tmp_path):
    state = reference.made(MODELS["2, MoE"])
    many = {name.replace("layers.1", "layers.999999999"): tensor for name, tensor in state.items()}
    assert "counts to 999999999" in refused(saved(tmp_path / "a.pth", many)).problem
    gate = {"model.layers.0.mlp.gate.weight": torch.zeros(1, 48).expand(10**9, 48)}
    assert "counts to 1000000000" in refused(saved(tmp_path / "b.pth", state | gate)).problem


def test_weights_that_are_no_numbers_are_still_tied(tmp_path):
    state = reference.made(MODELS["2"])
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        state[name][0] = float("nan")
    assert minimind.read(saved(tmp_path / "a.pth", state)).cfg.tie_word_embeddings


def test_what_is_no_language_model_is_said_to_be_none(tmp_path):
    state = reference.made(MODELS["3"])
    critic = {f"value_head.{part}": torch.zeros(1, 48) for part in ("weight", "bias")}
    assert "critic" in refused(saved(tmp_path / "a.pth", state | critic)).problem
    adapter = saved(tmp_path / "b.pth", reference.adapter(MODELS["3"]))
    assert "an adapter, not a model" in refused(adapter).problem
    assert "int8" in refused(saved(tmp_path / "c.pth", state | {"q": torch.zeros(2).to(torch.int8)})).problem
    assert "not tensors by name" in refused(saved(tmp_path / "d.pth", [1, 2])).problem
    assert "step: is a int" in refused(saved(tmp_path / "e.pth", {"step": 3})).problem
    with pytest.raises(UserError, match="no adapter"):
        read_lora(saved(tmp_path / "f.pth", state))


def test_hints_that_contradict_the_file_are_refused(tmp_path):
    second = saved(tmp_path / "a.pth", reference.made(MODELS["2"]))
    third = saved(tmp_path / "b.pth", reference.made(MODELS["3"]))
    assert "num_attention_heads: 7" in refused(second, Hints(num_attention_heads=7)).problem
    assert "the file says 8" in refused(third, Hints(num_attention_heads=4)).problem
    assert "no experts" in refused(third, Hints(num_experts_per_tok=2)).problem
    moe = saved(tmp_path / "c.pth", reference.made(MODELS["3, MoE"]))
    assert "9 of 4 experts" in refused(moe, Hints(num_experts_per_tok=9)).problem


def test_an_adapter_that_fits_nothing_is_refused(tmp_path):
    small = MODELS["2"]
    adapter = reference.adapter(small)
    key = "model.layers.0.self_attn.q_proj.lora.B.weight"

    def problem(changed: dict[str, Tensor]) -> str:
        with pytest.raises(UserError) as caught:
            read_lora(saved(tmp_path / "lora.pth", changed))
        return caught.value.problem

    assert f"{key}: is missing" in problem({name: x for name, x in adapter.items() if name != key})
    assert "B is (48, 3)" in problem(adapter | {key: torch.zeros(48, 3)})
    pair = {f"lm_head.lora.{letter}.weight": torch.zeros(4, 4) for letter in "AB"}
    assert "lm_head: an adapter has no place" in problem(adapter | pair)
    wider = reference.adapter(replace(small, width=50))
    found = minimind.read(saved(tmp_path / "a.pth", reference.made(small)))
    with pytest.raises(UserError, match=r"is \(48, 48\) in the model, the adapter is for \(50, 50\)"):
        merge(found.state, read_lora(saved(tmp_path / "wider.pth", wider)))


BASE = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}


@pytest.mark.parametrize(
    "changes, generation, words",
    [
        ({"qkv_bias": True}, "auto", "has no biases"),
        ({"tie_word_embeddings": False}, "auto", "embedding for a head"),
        ({"qk_norm": True}, "2", "has no head norms"),
        ({}, "3", "has head norms"),
        ({"head_dim": 16}, "auto", "heads that add up to the width"),
        ({"qk_norm": True, "moe": EXPERTS | {"num_shared_experts": 1}}, "auto", "has no shared experts"),
        ({"moe": EXPERTS | {"num_shared_experts": 1, "shared_gated": True}}, "auto", "without a gate"),
        ({"moe": EXPERTS | {"num_experts_per_tok": 1}}, "auto", "share of one expert alone"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "auto", "16 times by YaRN"),
        ({}, "1", "read, not written"),
        ({}, "4", "there is no generation '4'"),
    ],
)
def test_what_minimind_cannot_be_is_refused_before_anything_is_written(changes, generation, words, tmp_path):
    cfg = resolve(BASE | changes, servable=False)
    with pytest.raises(UserError, match=words):
        minimind.write(build_empty(cfg).state_dict(), cfg, tmp_path / "a.pth", generation)
    assert not list(tmp_path.iterdir())


def test_a_file_that_could_not_be_written_leaves_nothing(tmp_path, monkeypatch):
    def breaks(state: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    cfg = resolve(BASE, servable=False)
    monkeypatch.setattr(torch, "save", breaks)
    with pytest.raises(OSError, match="no space"):
        minimind.write(build_empty(cfg).state_dict(), cfg, tmp_path / "a.pth")
    assert not list(tmp_path.iterdir())
