"""`inspect` tells what any path is, and names the place of what is wrong with it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import exports
import minimind_reference as reference
from conversions import convert, done, refused
from convert.export import environment
from danlu.model.disk import INDEX
from downloads import pickled, sharded
from minimind_reference import Small
from model_shapes import config


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> dict[str, Path]:
    """One path of every kind."""
    top = tmp_path_factory.mktemp("paths")
    cfg = exports.speaking("qwen3_moe")
    finished = exports.finished(top / "finished", cfg)
    exports.run(top / "run", cfg)
    torch.save(reference.made(Small("3", kv=4, eps=1e-6)), top / "a.pth")
    torch.save(reference.adapter(Small("3", kv=4)), top / "lora.pth")
    done("from-pth", top / "lora.pth", "--out", top / "adapter")
    shutil.copytree(finished, top / "pickled")
    pickled(top / "pickled")
    return {path.name: path for path in top.iterdir()} | {
        "export": exports.exported(finished, top / "export"),
        "checkpoint": top / "run/step-000001",
        "file": finished / "model.safetensors",
        "bin": top / "pickled/pytorch_model.bin",
    }


KINDS = {
    "finished": ("finished weights", "Qwen3MoeForCausalLM"),
    "export": ("weights of Qwen3MoeForCausalLM", "Qwen3MoeForCausalLM"),
    "pickled": ("finished weights", "Qwen3MoeForCausalLM"),
    "run": ("checkpoint", "Qwen3MoeForCausalLM"),
    "checkpoint": ("checkpoint", "Qwen3MoeForCausalLM"),
    "a.pth": ("MiniMind, generation 3", "Qwen3ForCausalLM"),
    "lora.pth": ("a LoRA adapter of MiniMind's", None),
    "adapter": ("a LoRA adapter, PEFT's format", None),
    "file": ("a file of tensors", None),
    "bin": ("a file of tensors", None),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_path_is_told_to_people_and_to_programs(name, paths):
    kind, leaves_as = KINDS[name]
    found = json.loads(done("inspect", paths[name], "--json").out)
    assert found["kind"] == kind and found.get("leaves as") == leaves_as
    assert found["problems"] == [] and found["tensors"] and sum(found["numbers"].values()) > 0
    shown = done("inspect", paths[name]).out
    assert kind in shown and "whole: " in shown
    every = done("inspect", paths[name], "--all").out
    assert all(tensor in every for tensor in found["tensors"])


def test_totals_are_those_of_the_tensors(paths):
    found = json.loads(done("inspect", paths["export"], "--json").out)
    state = load_file(paths["export"] / "model.safetensors")
    assert found["numbers"] == {"bfloat16": sum(tensor.numel() for tensor in state.values())}
    assert found["bytes"] == sum(tensor.nbytes for tensor in state.values())
    assert found["tensors"].keys() == state.keys()
    assert found["experts"] == "5, 2 a token" and found["active"] < found["parameters"]


def test_what_is_not_there_is_refused(tmp_path):
    assert "does not exist" in refused("inspect", tmp_path / "none")


# Faults

NORM = "model.norm.weight"


def cut(path: Path) -> None:
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def mislaid(path: Path) -> None:
    sharded(path)
    with exports.edited(path / INDEX) as index:
        index["weight_map"][NORM] = "model-00001-of-00003.safetensors"


def without_a_shard(path: Path) -> None:
    sharded(path)
    (path / "model-00002-of-00003.safetensors").unlink()


FAULTS: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "a file cut short": (cut, ["model.safetensors: cannot be read"]),
    "an index that is wrong": (mislaid, [INDEX, NORM, "is not in model-00001-of-00003"]),
    "a file too few": (without_a_shard, ["model-00002-of-00003.safetensors"]),
    "a tensor too few": (exports.tensors(lambda state: state.pop(NORM)), [NORM, "is missing"]),
    "a tensor too many": (
        exports.tensors(lambda state: state.update({"model.extra": torch.ones(2)})),
        ["model.extra", "belongs to no part"],
    ),
    "another shape": (
        exports.tensors(lambda state: state.update({NORM: torch.ones(47)})),
        [f"{NORM}: is (47,)"],
    ),
    "a family nobody knows": (exports.put("config.json", "model_type", "mamba"), ["'mamba'"]),
    "a broken config": (lambda path: (path / "config.json").write_text("{"), ["config.json"]),
    "no config": (lambda path: (path / "config.json").unlink(), ["config.json"]),
}
OF_MANIFEST: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "a file changed": (
        exports.put("generation_config.json", "temperature", 9.0),
        ["generation_config.json: has"],
    ),
    "a number changed": (
        exports.tensors(lambda state: state[NORM].mul_(2)),
        ["model.safetensors: ", "SHA-256"],
    ),
    "a file gone": (lambda path: (path / "serve.json").unlink(), ["serve.json: is missing"]),
    "a file more": (lambda path: (path / "x.bin").touch(), ["x.bin: was not there"]),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["finished", "export"])
def test_what_is_wrong_is_named(name, fault, paths, tmp_path):
    spoil, said = FAULTS[fault]
    named(paths[name], tmp_path, spoil, said)


@pytest.mark.parametrize("fault", OF_MANIFEST)
def test_what_is_not_as_it_was_made_is_named(fault, paths, tmp_path):
    spoil, said = OF_MANIFEST[fault]
    named(paths["export"], tmp_path, spoil, said)


def named(whole: Path, place: Path, spoil: Callable[[Path], object], said: list[str]) -> None:
    shutil.copytree(whole, place / "spoilt")
    spoil(place / "spoilt")
    ended = convert("inspect", place / "spoilt")
    wrong = [line for line in ended.out.splitlines() if line.startswith("wrong: ")]
    assert ended.code == 1 and "whole: " not in ended.out
    assert any(all(words in line for words in said) for line in wrong), ended.out
    told = json.loads(convert("inspect", place / "spoilt", "--json").out)
    assert [f"wrong: {problem}" for problem in told["problems"]] == wrong


@pytest.mark.parametrize("name", ["a.pth", "lora.pth", "file", "bin"])
def test_a_file_cut_short_is_named(name, paths, tmp_path):
    file = tmp_path / paths[name].name
    file.write_bytes(paths[name].read_bytes()[:3000])
    ended = convert("inspect", file)
    assert ended.code == 1 and f"wrong: {file}" in ended.out


def test_no_model_is_kept_in_memory(tmp_path):
    """A file of 2 GB, mostly a hole, is told under a limit it would break."""
    exports.finished(tmp_path / "one", config("llama", vocab_size=301), words=None)
    base = measured(tmp_path / "one")
    exports.put("config.json", "vocab_size", 10_000_000)(tmp_path / "one")
    exports.put("config.json", "danlu", None)(tmp_path / "one")
    state = load_file(tmp_path / "one/model.safetensors")
    state["model.embed_tokens.weight"] = torch.zeros(1, 1).expand(10_000_000, 48)
    hollow(tmp_path / "one/model.safetensors", state)
    assert measured(tmp_path / "one") < base + (200 << 20)


def hollow(path: Path, state: dict[str, torch.Tensor]) -> None:
    """Write a file of tensors whose data is a hole."""
    header, at = {}, 0
    for name, tensor in state.items():
        size = tensor.numel() * 4
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)


def measured(path: Path) -> int:
    """Return the most memory, in bytes, that a process inspecting a path held."""
    script = (
        "import resource, sys; from convert.__main__ import cli; cli(sys.argv[1:], standalone_mode=False);"
    )
    script += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    words = [sys.executable, "-c", script, "inspect", str(path)]
    ended = subprocess.run(words, env=environment(), capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return int(ended.stdout.splitlines()[-1]) * 1024
