"""A LoRA adapter merges as PEFT itself merges it, leaves as it came, and what is no plain one is refused."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file, save_file

import exports
from convert.adapter import CONFIG, WEIGHTS, Adapter
from convert.checks.peer import load_peer
from convert.export_adapter import export_adapter
from danlu.base.errors import UserError
from danlu.model.disk import Disk

peft = pytest.importorskip("peft")

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
MLP = ["gate_proj", "up_proj", "down_proj"]


class Made(NamedTuple):
    """An adapter: on which model, and what PEFT is told."""

    model: str
    keys: dict[str, Any]


ADAPTERS = {
    "attention": Made("qwen3", {"target_modules": ATTENTION}),
    "everything": Made("llama", {"target_modules": "all-linear", "r": 3, "lora_alpha": 7}),
    "over the root of the rank": Made("qwen3", {"target_modules": ATTENTION, "use_rslora": True}),
    "other ranks here and there": Made(
        "qwen3",
        {
            "target_modules": ATTENTION + MLP,
            "rank_pattern": {"q_proj": 2, r"model\.layers\.1\.mlp\.up_proj": 5, "layers.0.mlp.down_proj": 3},
            "alpha_pattern": {"down_proj": 32, "^model.layers.2.self_attn.k_proj": 1},
        },
    ),
    "patterns over the root": Made(
        "llama", {"target_modules": MLP, "use_rslora": True, "rank_pattern": {"up_proj": 9}}
    ),
    "some layers": Made("llama", {"target_modules": ["q_proj"], "layers_to_transform": [0, 2]}),
    "transposed": Made("gpt2", {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True}),
    "fused": Made("phi3", {"target_modules": ["qkv_proj", "gate_up_proj", "down_proj"]}),
    "embeddings, untied": Made(
        "llama with all biases, untied", {"target_modules": ["embed_tokens", "q_proj"]}
    ),
    "a head of its own": Made(
        "llama with all biases, untied", {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}
    ),
    "norms trained whole": Made("qwen3", {"target_modules": ["v_proj"], "modules_to_save": ["norm"]}),
    "experts' neighbours": Made("qwen3_moe", {"target_modules": ATTENTION}),
    "a shared expert's gate": Made("qwen2_moe", {"target_modules": ["q_proj", "shared_expert_gate"]}),
}


def adapted(base: Path, folder: Path, seed: int = 0, **keys: Any) -> dict[str, torch.Tensor]:
    """Write an adapter with PEFT, none of its factors zero, and return the tensors PEFT's own merge gives."""
    torch.manual_seed(seed)
    model, _ = load_peer(base, torch.float32)
    settings = {"r": 4, "lora_alpha": 16, "task_type": "CAUSAL_LM"} | keys
    wrapped = peft.get_peft_model(model, peft.LoraConfig(**settings))
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    wrapped.save_pretrained(folder, save_embedding_layers=False)
    merged = folder.with_name(f"{folder.name}-merged-by-peft")
    wrapped.merge_and_unload().save_pretrained(merged)
    disk = Disk(merged)
    return {name: disk.get(name) for name in disk}


def made(tmp_path: Path, shape: str, **keys: Any) -> tuple[Path, Path, dict[str, torch.Tensor]]:
    """Return finished weights, an adapter on their export, and what PEFT makes of both."""
    source = exports.finished(tmp_path / "source", exports.speaking(shape))
    base = exports.exported(source, tmp_path / "base", torch.float32)
    return source, tmp_path / "adapter", adapted(base, tmp_path / "adapter", **keys)


@pytest.mark.parametrize("kind", ADAPTERS)
def test_merged_is_what_peft_merges(tmp_path, kind):
    shape, keys = ADAPTERS[kind]
    source, adapter, wanted = made(tmp_path, shape, **keys)
    out = exports.exported(source, tmp_path / "hf", torch.float32, adapter=adapter)
    found = Disk(out)
    assert set(found) - {"lm_head.weight"} == wanted.keys() - {"lm_head.weight"}
    base = load_file(tmp_path / "base/model.safetensors")
    moved = 0
    for name in found:
        torch.testing.assert_close(found.get(name), wanted[name], rtol=0, atol=1e-6, msg=name)
        moved += not torch.equal(found.get(name), base[name])
    written = Adapter(adapter)
    assert moved == len(written.factors) + len(written.replaced) > 0
    assert exports.faults(out, source, "logits", adapter) == []
    wrong = exports.faults(out, source, "tensors")
    assert any(line.startswith(min(written.factors)) for line in wrong)


def test_a_merge_is_rounded_once(tmp_path):
    source, adapter, wanted = made(tmp_path, "qwen3", target_modules=ATTENTION)
    out = exports.exported(source, tmp_path / "hf", adapter=adapter)
    name = "model.layers.0.self_attn.q_proj.weight"
    torch.testing.assert_close(
        Disk(out).get(name).float(), wanted[name].bfloat16().float(), rtol=0, atol=2e-3
    )
    assert exports.faults(out, source, "logits", adapter) == []
    told = json.loads((out / "manifest.json").read_text())
    assert told["adapter"] == str(adapter)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A plain adapter and the finished weights it is for."""
    top = tmp_path_factory.mktemp("plain")
    source, adapter, _ = made(top, "qwen3", target_modules=ATTENTION)
    return source, adapter


def config(**keys):
    return lambda folder: exports.put(CONFIG, *next(iter(keys.items())))(folder)


def renamed(old, new):
    def spoil(folder):
        state = load_file(folder / WEIGHTS)
        save_file({name.replace(old, new): tensor for name, tensor in state.items()}, folder / WEIGHTS)

    return spoil


def doubled(old, new):
    def spoil(folder):
        state = load_file(folder / WEIGHTS)
        again = {name.replace(old, new): torch.zeros_like(one) for name, one in state.items() if old in name}
        save_file(state | again, folder / WEIGHTS)

    return spoil


def dropped(part):
    def spoil(folder):
        state = load_file(folder / WEIGHTS)
        save_file({name: t for name, t in state.items() if part not in name}, folder / WEIGHTS)

    return spoil


FIRST = "model.layers.0.self_attn.q_proj"
REFUSED = {
    "DoRA": (config(use_dora=True), "use_dora: is True"),
    "biases": (config(bias="all"), "bias: is all"),
    "a bias on B": (config(lora_bias=True), "lora_bias: is True"),
    "another kind": (config(peft_type="IA3"), "peft_type: is IA3"),
    "layers repeated": (config(layer_replication=[[0, 1]]), "layer_replication: is"),
    "rows of embeddings": (config(trainable_token_indices=[3]), "trainable_token_indices: is"),
    "parameters themselves": (config(target_parameters=["mlp.experts.down_proj"]), "target_parameters: is"),
    "another start": (config(init_lora_weights="pissa"), "init_lora_weights: is pissa"),
    "magnitudes": (
        renamed("layers.0.self_attn.q_proj.lora_A.weight", "layers.0.self_attn.q_proj.lora_magnitude_vector"),
        "is not known here",
    ),
    "a name of nobody": (
        renamed("base_model.model.model.layers.0", "transformer.layers.0"),
        "is no tensor of",
    ),
    "another base": (
        renamed("q_proj", "query"),
        r"model\.layers\.0\.self_attn\.query\.weight: .* no such tensor",
    ),
    "another rank than its tensors": (config(r=16), "the rank 16"),
    "no rank": (config(r=None), "r: is None"),
    "no scale": (config(lora_alpha=0), "lora_alpha: is 0"),
    "said twice": (doubled(f"{FIRST}.lora_A.weight", f"{FIRST}.lora_A.default.weight"), "says what"),
    "changed and replaced": (doubled(f"{FIRST}.lora_A.weight", f"{FIRST}.weight"), "changed and replaced"),
    "one half of a tied pair": (renamed(FIRST, "model.embed_tokens"), "base ties embedding and head"),
    "half a pair": (dropped(f"{FIRST}.lora_B"), f"{FIRST}.weight: has no B"),
    "no config": (lambda folder: (folder / CONFIG).unlink(), "holds no adapter"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "adapter_model"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_plain_adapter_of_this_model_is_refused(plain, tmp_path, kind, capfd):
    source, adapter = plain
    spoil, problem = REFUSED[kind]
    wrong = Path(shutil.copytree(adapter, tmp_path / "adapter"))
    spoil(wrong)
    with pytest.raises(UserError) as error:
        exports.exported(source, tmp_path / "hf", torch.float32, adapter=wrong)
    assert re.search(problem, str(error.value)), error.value
    assert not (tmp_path / "hf").exists()


def test_an_adapter_of_a_wider_model_is_refused(plain, tmp_path):
    other = exports.finished(tmp_path / "other", exports.speaking("qwen3", hidden_size=96))
    with pytest.raises(UserError, match=r"q_proj\.weight: is \(96, 48\), the model's is \(96, 96\)"):
        exports.exported(other, tmp_path / "hf", adapter=plain[1])


def test_an_adapter_leaves_to_the_bit(plain, tmp_path):
    out = tmp_path / "served"
    export_adapter(plain[1], out)
    before, after = load_file(plain[1] / WEIGHTS), load_file(out / WEIGHTS)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert json.loads((out / CONFIG).read_text()) == json.loads((plain[1] / CONFIG).read_text())
    assert {path.name for path in out.iterdir()} == {CONFIG, WEIGHTS, "manifest.json"}
    export_adapter(plain[1], out)  # an older one is replaced
    with pytest.raises(UserError, match="is what is being read"):
        export_adapter(plain[1], plain[1])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").touch()
    with pytest.raises(UserError, match="holds something else"):
        export_adapter(plain[1], tmp_path / "mine")


def test_what_was_trained_whole_does_not_leave_as_an_adapter(tmp_path):
    _, adapter, _ = made(tmp_path, "qwen3", target_modules=["v_proj"], modules_to_save=["norm"])
    with pytest.raises(UserError, match=r"norm\.weight: was trained whole"):
        export_adapter(adapter, tmp_path / "served")
