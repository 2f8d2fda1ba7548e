"""A request that names an adapter is answered as by the merged weights, whoever is beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import exports
from convert.checks.peer import load_peer
from danlu.base.errors import UserError
from danlu.generate import packed
from danlu.generate.adapters import Adapters
from danlu.generate.engine import Engine, complete
from danlu.generate.load import empty
from danlu.generate.sample import Sampling
from danlu.model import weights
from generate.models import TOKENIZER, words

peft = pytest.importorskip("peft")

GREEDY = Sampling(temperature=0.0, max_tokens=10)
EVERY = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
KINDS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "plain": (
        "qwen3",
        [{"target_modules": EVERY}, {"target_modules": ["q_proj", "up_proj"], "r": 3, "use_rslora": True}],
    ),
    "fused": (
        "phi3",
        [{"target_modules": ["qkv_proj", "gate_up_proj", "o_proj"]}, {"target_modules": ["down_proj"]}],
    ),
    "transposed": (
        "gpt2",
        [
            {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True},
            {"target_modules": ["c_fc"], "fan_in_fan_out": True},
        ],
    ),
    "experts' neighbours": (
        "qwen2_moe",
        [{"target_modules": ["q_proj", "shared_expert_gate"]}, {"target_modules": ["o_proj"]}],
    ),
}


def opened(folder: Path):
    model = empty(weights.read_config(folder), "cpu", "float32")
    weights.load(folder, model)
    return model


def made(base: Path, folder: Path, seed: int = 0, **keys: Any) -> Path:
    """Write an adapter with PEFT, none of its factors zero, and beside it what PEFT merges."""
    torch.manual_seed(seed)
    model, _ = load_peer(base, torch.float32)
    settings = {"r": 4, "lora_alpha": 16, "task_type": "CAUSAL_LM"} | keys
    wrapped = peft.get_peft_model(model, peft.LoraConfig(**settings))
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    wrapped.save_pretrained(folder, save_embedding_layers=False)
    wrapped.merge_and_unload().save_pretrained(folder.with_name(f"{folder.name}-merged"))
    return folder


def base_of(tmp_path: Path, shape: str) -> Path:
    return exports.exported(
        exports.finished(tmp_path / "source", exports.speaking(shape)), tmp_path / "base", torch.float32
    )


def answered(engine, prompts, adapters):
    for index, (prompt, adapter) in enumerate(zip(prompts, adapters)):
        engine.add(index, prompt, GREEDY, adapter=adapter)
    got = {index: [] for index in range(len(prompts))}
    while engine.busy:
        for event in engine.step():
            got[event.index].append(event.token)
    return list(got.values())


@pytest.mark.parametrize("packs", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_several_adapters_is_answered_as_each_merged_model_answers(tmp_path, kind, packs):
    shape, settings = KINDS[kind]
    base = base_of(tmp_path, shape)
    model = opened(base)
    if packs and not packed.pack(model):
        pytest.skip("no packed products on this host")
    adapters, prompts = Adapters(model, base), words(30, 9, 17, 4, 30, 21)
    expected = {"": complete(opened(base), TOKENIZER, prompts, GREEDY, ends=())}
    for number, keys in enumerate(settings):
        folder = made(base, tmp_path / f"a{number}", seed=number, **keys)
        adapters.load(f"a{number}", folder)
        merged = opened(tmp_path / f"a{number}-merged")
        expected[f"a{number}"] = complete(merged, TOKENIZER, prompts, GREEDY, ends=())
        with torch.no_grad(), adapters.rows([f"a{number}"]):
            text = torch.tensor(prompts[:1])
            ours, theirs = (one.logits(one(text).hidden) for one in (model, merged))
            torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-4)
    assert len({tuple(answers[0].tokens) for answers in expected.values()}) == 3
    for names in (["", "a0", "a1", "a0", "", "a1"], ["a0"] * 6, [""] * 6):
        engine = Engine(model, TOKENIZER, slots=4, ends=(), adapters=adapters)
        wanted = [expected[name][row].tokens for row, name in enumerate(names)]
        assert answered(engine, prompts, names) == wanted


def test_what_was_read_with_one_adapter_is_not_shared_with_another(tmp_path):
    base = base_of(tmp_path, "qwen3")
    model, (prompt,) = opened(base), words(40)
    adapters = Adapters(model, base)
    for name in ("a0", "a1"):
        adapters.load(name, made(base, tmp_path / name, seed=ord(name[1]), target_modules=["v_proj"]))
    names = ["", "a0", "a1", "a0", "", "a1"]
    fresh = [answered(Engine(model, TOKENIZER, ends=(), adapters=adapters), [prompt], [n]) for n in names]
    engine = Engine(model, TOKENIZER, ends=(), adapters=adapters)
    assert [answered(engine, [prompt], [name]) for name in names] == fresh
    adapters.load("a0", tmp_path / "a1")  # another one under the same name
    assert answered(engine, [prompt], ["a0"]) == fresh[2]
    assert answered(engine, [prompt], ["a1"]) == fresh[2]


REFUSED = {
    "embeddings": ("llama with all biases, untied", {"target_modules": ["embed_tokens"]}, "embed_tokens"),
    "the head": ("llama with all biases, untied", {"target_modules": ["lm_head"]}, "lm_head"),
    "trained whole": ("qwen3", {"target_modules": ["q_proj"], "modules_to_save": ["norm"]}, "trained whole"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_product_is_refused_by_name(tmp_path, kind):
    shape, keys, word = REFUSED[kind]
    base = base_of(tmp_path, shape)
    adapters = Adapters(opened(base), base)
    with pytest.raises(UserError, match=word):
        adapters.load("a", made(base, tmp_path / "a", **keys))
    assert adapters.names == []


def test_another_models_adapter_and_an_unknown_name_are_refused(tmp_path):
    base = base_of(tmp_path, "qwen3")
    model = opened(base)
    wide = exports.exported(
        exports.finished(tmp_path / "wide", exports.speaking("qwen3", intermediate_size=176)),
        tmp_path / "wider",
        torch.float32,
    )
    adapters = Adapters(model, base)
    with pytest.raises(UserError, match="the model's is"):
        adapters.load("a", made(wide, tmp_path / "a", target_modules=["up_proj"]))
    with pytest.raises(UserError, match="no adapter 'poet'"):
        Engine(model, TOKENIZER, adapters=adapters).add(0, [5], GREEDY, adapter="poet")
