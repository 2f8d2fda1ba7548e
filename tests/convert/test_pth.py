"""`from-pth` and `to-pth` as a user types them: hints, words, adapters, and everything that is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import exports
import minimind_reference as reference
from conversions import differences, done, everything, refused, tensors
from convert.minimind_shape import YARN
from danlu.model.config import read_hf
from minimind_reference import Small
from model_oracle import logits, read
from model_shapes import config

UNCHECKED = ("--check", "none")
SECOND, THIRD = Small("2"), Small("3", kv=4, eps=1e-6)
MOE = Small("2", experts=4, shared=1)
SPEAKING = Small("3", kv=4, eps=1e-6, words=exports.WORDS.size)
TOKENS_T = torch.tensor([5, 91, 3, 3, 40, 17, 0, 62])


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def saved(path: str, state: Any) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return Path(path)


def close(folder: str, theirs: Tensor) -> None:
    ours = logits(read(Path(folder)), TOKENS_T[None])[0]
    torch.testing.assert_close(ours.double(), theirs.double(), rtol=0, atol=2e-5)


# What a file does not say


@pytest.mark.parametrize(
    ("small", "words", "key", "value"),
    [
        (SECOND, ["--num-attention-heads", "4"], "num_attention_heads", 4),
        (MOE, ["--num-experts-per-tok", "3"], "moe.num_experts_per_tok", 3),
        (SECOND, ["--rope-theta", "1e4"], "rope_theta", 1e4),
        (THIRD, ["--norm-eps", "1e-4"], "norm_eps", 1e-4),
        (SECOND, ["--max-position-embeddings", "512"], "max_position_embeddings", 512),
        (THIRD, ["--rope-scaling"], "rope_scaling.factor", YARN.factor),
    ],
)
def test_a_hint_is_taken_and_checked_with(small, words, key, value):
    saved("a.pth", reference.made(small))
    ended = done("from-pth", "a.pth", "--out", "ours", *words, *UNCHECKED)
    done("check", "ours", "--against", "a.pth")
    found: Any = read_hf(Path("ours"))
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value
    assumed = ended.err.partition("not told by its tensors, so as usual: ")[2].partition("\n")[0]
    assert assumed and words[0].removeprefix("--").replace("-", "_") not in assumed


@pytest.mark.parametrize(
    "small",
    [Small("2", heads=4, head=12, kv=4), Small("3", heads=4, kv=1, head=16, eps=1e-6, theta=1e4)],
    ids=["heads", "theta"],
)
def test_with_its_hints_a_model_answers_as_minimind_does(small):
    state = reference.made(small)
    saved("a.pth", state)
    words = ["--num-attention-heads", small.heads, "--rope-theta", small.theta, "--norm-eps", small.eps]
    done("from-pth", "a.pth", "--out", "ours", *words, *UNCHECKED)
    close("ours", reference.logits(state, small, TOKENS_T))


def test_the_manifest_keeps_what_was_assumed():
    saved("a.pth", reference.made(MOE))
    done("from-pth", "a.pth", "--out", "ours", "--rope-theta", "1e5", *UNCHECKED)
    source = json.loads(Path("ours/manifest.json").read_text())["source"]
    assert source["assumed"]["num_attention_heads"] == 8 and "rope_theta" not in source["assumed"]
    assert json.loads(Path("ours/run.json").read_text())["from"]["assumed"] == source["assumed"]


def test_a_process_of_its_own_checks_with_the_same_hints():
    small = Small("2", heads=4, head=12, kv=4)
    saved("a.pth", reference.made(small))
    done("from-pth", "a.pth", "--out", "ours", "--num-attention-heads", 4, "--check", "tensors")
    manifest = json.loads(Path("ours/manifest.json").read_text())
    assert manifest["parity"]["tensors"]["equal"] == manifest["tensors"] > 10


# Words


def test_words_are_found_where_minimind_keeps_them():
    saved("minimind/out/a.pth", reference.made(SPEAKING))
    Path("minimind/model").mkdir()
    exports.WORDS.save(Path("minimind/model"))
    ended = done("from-pth", "minimind/out/a.pth", "--out", "ours", *UNCHECKED)
    assert "without its words" not in ended.err
    assert Path("ours/tokenizer.json").read_bytes() == Path("minimind/model/tokenizer.json").read_bytes()
    done("check", "ours", "--against", "minimind/out/a.pth")


def test_words_that_are_named_go_first():
    saved("minimind/out/a.pth", reference.made(SPEAKING))
    for place in ("minimind/model", "mine"):
        Path(place).mkdir()
        exports.WORDS.save(Path(place))
    Path("minimind/model/tokenizer.json").write_text("not a tokenizer")
    done("from-pth", "minimind/out/a.pth", "--out", "ours", "--tokenizer", "mine", *UNCHECKED)
    assert Path("ours/tokenizer.json").read_bytes() == Path("mine/tokenizer.json").read_bytes()
    done("check", "ours", "--against", "minimind/out/a.pth", "--tokenizer", "mine")


def test_without_words_it_comes_in_and_that_is_said():
    saved("a.pth", reference.made(SECOND))
    ended = done("from-pth", "a.pth", "--out", "ours", *UNCHECKED)
    assert "without its words: --tokenizer FOLDER" in ended.err
    assert not list(Path("ours").glob("tokenizer*"))


# Adapters


def test_an_adapter_becomes_peft_s_and_merges_into_its_model(here):
    small = SPEAKING
    state, lora = reference.made(small, dtype=torch.float32), reference.adapter(small)
    saved("a.pth", state)
    saved("lora.pth", lora)
    done("from-pth", "a.pth", "--out", "ours", *UNCHECKED)
    ended = done("from-pth", "lora.pth", "--out", "adapter")
    assert "an adapter of rank 4 on 4 weights" in ended.err
    assert json.loads(Path("adapter/adapter_config.json").read_text())["r"] == 4
    assert {file.name for file in Path("adapter").iterdir()} >= {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    done("to-hf", "ours", "--adapter", "adapter", "--out", "hf", "--dtype", "float32", *UNCHECKED)
    for module in {key.rpartition(".lora.")[0] for key in lora}:
        a, b = (lora[f"{module}.lora.{letter}.weight"].float() for letter in "AB")
        state[f"{module}.weight"] = state[f"{module}.weight"] + b @ a
    close("hf", reference.logits(state, small, TOKENS_T))


def test_peft_reads_the_adapter(here):
    import peft
    import transformers

    saved("a.pth", reference.made(THIRD, dtype=torch.float32))
    saved("lora.pth", reference.adapter(THIRD))
    done("from-pth", "a.pth", "--out", "ours", *UNCHECKED)
    done("from-pth", "lora.pth", "--out", "adapter")
    done("to-hf", "ours", "--adapter", "adapter", "--out", "hf", "--dtype", "float32", *UNCHECKED)
    base = transformers.AutoModelForCausalLM.from_pretrained("ours", dtype=torch.float32)
    with torch.inference_mode():
        theirs = peft.PeftModel.from_pretrained(base, "adapter").eval()(TOKENS_T[None]).logits[0]
        close("hf", theirs)


# What to-pth writes


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_file_has_the_number_format_that_was_asked_for(dtype):
    exports.finished(Path("ours"), config("qwen3", head_dim=8), words=None)
    done("to-pth", "ours", "--out", "a.pth", "--dtype", dtype)
    state = torch.load("a.pth", weights_only=True)
    assert {str(tensor.dtype) for tensor in state.values()} == {f"torch.{dtype}"}
    done("to-pth", "ours", "--out", "whole.pth")
    whole = torch.load("whole.pth", weights_only=True)
    rounded = {name: tensor.to(getattr(torch, dtype)) for name, tensor in whole.items()}
    assert not list(differences(state, rounded))


def test_a_run_and_a_checkpoint_leave_as_files_too():
    cfg = exports.speaking("qwen3", head_dim=8)
    exports.run(Path("runs/one"), cfg)
    done("to-pth", "runs/one", "--out", "new.pth")
    done("to-pth", "runs/one/step-000001", "--out", "old.pth")
    new, old = (torch.load(file, weights_only=True) for file in ("new.pth", "old.pth"))
    assert new.keys() == old.keys() and not torch.equal(new["lm_head.weight"], old["lm_head.weight"])
    done("from-pth", "new.pth", "--out", "back", "--rope-theta", cfg.rope_theta, *UNCHECKED)
    exports.finished(Path("ours"), cfg, seed=2)
    assert not list(differences(tensors(Path("back")), tensors(Path("ours"))))


def test_an_older_file_is_replaced_whole():
    exports.finished(Path("ours"), config("qwen3", head_dim=8), words=None)
    Path("a.pth").write_text("older")
    done("to-pth", "ours", "--out", "a.pth")
    assert torch.load("a.pth", weights_only=True)


# Refusals


def cut(path: str, size: int) -> None:
    Path(path).write_bytes(Path(path).read_bytes()[:size])


class Trap:
    """What unpickling would run."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('sprung')",)


Prepare = Callable[[], object]
FILES: dict[str, tuple[Prepare, list[str], str]] = {
    "nothing there": (lambda: None, ["a.pth"], "a.pth: there is no such file"),
    "a folder": (lambda: Path("a.pth").mkdir(), ["a.pth"], "a.pth"),
    "words": (lambda: Path("a.pth").write_text("a text"), ["a.pth"], "cannot be read"),
    "nothing in it": (lambda: Path("a.pth").touch(), ["a.pth"], "cannot be read"),
    "half of it": (
        lambda: (saved("a.pth", reference.made(SECOND)), cut("a.pth", 9999)),
        ["a.pth"],
        "breaks off",
    ),
    "a list": (lambda: saved("a.pth", [1, 2]), ["a.pth"], "not tensors by name"),
    "a program": (lambda: saved("a.pth", {"w": Trap()}), ["a.pth"], "would run the code inside"),
    "numbers": (lambda: saved("a.pth", {"step": 3}), ["a.pth"], "step: is a int"),
    "another model's": (lambda: saved("a.pth", {"fc.weight": torch.ones(2, 2)}), ["a.pth"], "is missing"),
    "a tensor too few": (
        lambda: saved("a.pth", {key: w for key, w in reference.made(THIRD).items() if "1.mlp.up" not in key}),
        ["a.pth"],
        "model.layers.1.mlp.up_proj.weight: is missing",
    ),
    "a tensor too many": (
        lambda: saved("a.pth", reference.made(THIRD) | {"model.extra.weight": torch.ones(2)}),
        ["a.pth"],
        "model.extra.weight: has no place",
    ),
    "a model with its adapter": (
        lambda: saved("a.pth", reference.made(THIRD) | reference.adapter(THIRD)),
        ["a.pth"],
        "a model and an adapter beside it",
    ),
    "half an adapter": (
        lambda: saved("a.pth", {key: w for key, w in reference.adapter(THIRD).items() if ".A." in key}),
        ["a.pth"],
        ".lora.B.weight: is missing",
    ),
    "heads that do not fit": (
        lambda: saved("a.pth", reference.made(SECOND)),
        ["a.pth", "--num-attention-heads", "7"],
        "num_attention_heads: 7",
    ),
    "no heads": (
        lambda: saved("a.pth", reference.made(SECOND)),
        ["a.pth", "--num-attention-heads", "0"],
        "num_attention_heads: 0",
    ),
    "heads it tells itself": (
        lambda: saved("a.pth", reference.made(THIRD)),
        ["a.pth", "--num-attention-heads", "4"],
        "the file says 8",
    ),
    "experts it has not": (
        lambda: saved("a.pth", reference.made(SECOND)),
        ["a.pth", "--num-experts-per-tok", "2"],
        "there are no experts",
    ),
    "a hint that is no number": (
        lambda: saved("a.pth", reference.made(SECOND)),
        ["a.pth", "--rope-theta", "big"],
        "--rope-theta",
    ),
    "an epsilon below nothing": (
        lambda: saved("a.pth", reference.made(SECOND)),
        ["a.pth", "--norm-eps", "-1"],
        "norm_eps",
    ),
    "words for another model": (
        lambda: (saved("a.pth", reference.made(SECOND)), Path("w").mkdir(), exports.WORDS.save(Path("w"))),
        ["a.pth", "--tokenizer", "w"],
        "the tokenizer has 2048 tokens, the model 97",
    ),
    "words that are not there": (
        lambda: saved("a.pth", reference.made(SECOND)),
        ["a.pth", "--tokenizer", "nowhere"],
        "nowhere",
    ),
}


@pytest.mark.parametrize("what", FILES)
def test_what_is_no_file_of_minimind_is_refused_and_leaves_nothing(what, here):
    prepare, words, said = FILES[what]
    prepare()
    before = everything(here)
    assert said in refused("from-pth", *words, "--out", "ours")
    assert everything(here) == before


SHAPES: dict[str, tuple[str, dict[str, Any], list[str], str]] = {
    "biases": ("qwen2", {}, [], "has no biases"),
    "norms of layers": ("gpt2", {}, [], "MiniMind's generation 2"),
    "wide heads": ("llama", {"head_dim": 16}, [], "heads that add up to the width"),
    "an untied head": ("llama", {"tie_word_embeddings": False}, [], "embedding for a head"),
    "a gate on the shared expert": ("qwen2_moe", {"qkv_bias": False}, [], "without a gate"),
    "stretched otherwise": ("llama, linear", {}, [], "16 times by YaRN"),
    "the other generation": ("qwen3", {}, ["--generation", "2"], "generation 2 has no head norms"),
    "no such generation": ("qwen3", {}, ["--generation", "4"], "--generation"),
    "no such format": ("qwen3", {}, ["--dtype", "int8"], "--dtype"),
}


@pytest.mark.parametrize("what", SHAPES)
def test_what_minimind_cannot_be_is_refused_and_leaves_nothing(what, here):
    name, changes, words, said = SHAPES[what]
    exports.finished(Path("ours"), config(name, **changes), words=None)
    before = everything(here)
    assert said in refused("to-pth", "ours", "--out", "new/a.pth", *words)
    assert everything(here) == before


TARGETS: dict[str, tuple[Prepare, list[str], str]] = {
    "nothing to write": (lambda: None, ["nowhere", "--out", "a.pth"], "nowhere: no such folder"),
    "onto a folder": (lambda: Path("dir").mkdir(), ["ours", "--out", "dir"], "dir"),
    "below a file": (lambda: Path("f").touch(), ["ours", "--out", "f/a.pth"], "f"),
    "no place": (lambda: None, ["ours"], "--out"),
    "into what is read": (lambda: None, ["ours", "--out", "ours/model.safetensors"], "what is being read"),
}


@pytest.mark.parametrize("what", TARGETS)
def test_places_that_do_not_serve_are_refused(what, here):
    exports.finished(Path("ours"), config("qwen3", head_dim=8), words=None)
    prepare, words, said = TARGETS[what]
    prepare()
    before = everything(here)
    assert said in refused("to-pth", *words)
    assert everything(here) == before


def test_infinity_is_not_written_in_silence(here):
    exports.finished(Path("ours"), config("qwen3", head_dim=8), words=None)
    exports.tensors(lambda state: state["model.norm.weight"].fill_(1e6))(Path("ours"))
    before = everything(here)
    assert "float16 ends at 65504" in refused("to-pth", "ours", "--out", "a.pth", "--dtype", "float16")
    assert everything(here) == before
