"""What cannot be brought in is refused in two lines with exit code 2, and leaves nothing on the disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import exports
from conversions import everything, refused
from danlu.model.disk import INDEX
from downloads import Lies, pickled, sharded


def told(key: str, value: object) -> Lies:
    return exports.put("config.json", key, value)


def stored(change) -> Lies:
    return exports.tensors(change)


def listed(change) -> Lies:
    """Return what breaks the weights into three files and then spoils their index."""

    def spoil(path: Path) -> None:
        sharded(path)
        with exports.edited(path / INDEX) as index:
            change(index["weight_map"])

    return spoil


NORM, EMBEDDING = "model.norm.weight", "model.embed_tokens.weight"
REFUSED: dict[str, tuple[Lies, str]] = {
    "a model nobody knows": (told("model_type", "mamba"), "'mamba' is not a family known here"),
    "quantised": (told("quantization_config", {"quant_method": "gptq", "bits": 4}), "quantised (gptq)"),
    "eight bits": (told("dtype", "float8_e4m3fn"), "quantised (float8_e4m3fn)"),
    "an activation of its own": (told("hidden_act", "snake"), "snake"),
    "no layers told": (
        lambda path: (path / "config.json").write_text(
            (path / "config.json").read_text().replace("num_hidden_layers", "num_layers")
        ),
        "num_hidden_layers: is missing",
    ),
    "a broken config": (lambda path: (path / "config.json").write_text("{"), "config.json: cannot be read"),
    "no config": (lambda path: (path / "config.json").unlink(), "no config.json"),
    "no weights": (lambda path: (path / "model.safetensors").unlink(), "no .safetensors file"),
    "half a file": (
        lambda path: (path / "model.safetensors").write_bytes(
            (path / "model.safetensors").read_bytes()[:5000]
        ),
        "model.safetensors: cannot be read",
    ),
    "a tensor too few": (stored(lambda state: state.pop(NORM)), f"{NORM}: is missing"),
    "a tensor too many": (
        stored(lambda state: state.update({"model.extra.weight": torch.ones(3)})),
        "model.extra.weight: belongs to no part",
    ),
    "another shape": (
        stored(lambda state: state.update({NORM: torch.ones(47)})),
        f"{NORM}: is (47,), the model wants (48,)",
    ),
    "a head that is not tied": (
        stored(lambda state: state.update({"lm_head.weight": torch.ones(2048, 48)})),
        "lm_head.weight: differs from model.embed_tokens.weight",
    ),
    "an index to nowhere": (
        listed(lambda names: names.update({NORM: "model-00009.safetensors"})),
        "model-00009.safetensors",
    ),
    "an index to the wrong file": (
        listed(lambda names: names.update({NORM: names[EMBEDDING]})),
        f"{NORM}: is not in model-00001-of-00003.safetensors",
    ),
    "an index out of the folder": (
        listed(lambda names: names.update({NORM: "../../secret.safetensors"})),
        "secret.safetensors",
    ),
    "a broken index": (
        lambda path: (sharded(path), (path / INDEX).write_text("[]")),
        f"{INDEX}: cannot be read",
    ),
    "code among the weights": (
        lambda path: (pickled(path), torch.save(torch.nn.Linear(1, 1), path / "pytorch_model.bin")),
        "would run the code",
    ),
    "words too many": (
        lambda path: (
            told("vocab_size", 2000)(path),
            stored(lambda state: state.update({EMBEDDING: state[EMBEDDING][:2000]}))(path),
        ),
        "the tokenizer has 2048 tokens, the model 2000",
    ),
    "only a SentencePiece model": (
        lambda path: (path / "tokenizer.json").rename(path / "tokenizer.model"),
        "tokenizer.model but no tokenizer.json",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_brought_in_is_refused_and_leaves_nothing(what, folder):
    spoil, said = REFUSED[what]
    spoil(folder / "theirs")
    before = everything(folder)
    assert said in refused("from-hf", "theirs", "--out", "ours")
    assert everything(folder) == before


PLACES: dict[str, tuple[Callable[[], object], list[str], str]] = {
    "nothing there": (lambda: None, ["none", "--out", "ours"], "none: no such folder"),
    "a file": (lambda: None, ["theirs/config.json", "--out", "ours"], "config.json"),
    "no out": (lambda: None, ["theirs"], "--out"),
    "out of it itself": (lambda: None, ["theirs", "--out", "theirs"], "what is being read"),
    "out is a file": (lambda: Path("file").touch(), ["theirs", "--out", "file"], "is a file"),
    "out below a file": (lambda: Path("file").touch(), ["theirs", "--out", "file/ours"], "file"),
    "out holds something": (
        lambda: (Path("other").mkdir(), Path("other/thesis.txt").touch()),
        ["theirs", "--out", "other"],
        "holds something else already",
    ),
    "no size": (lambda: None, ["theirs", "--out", "ours", "--shard-size", "huge"], "'huge' is no size"),
    "no such check": (lambda: None, ["theirs", "--out", "ours", "--check", "vllm"], "vllm"),
    "no such option": (lambda: None, ["theirs", "--out", "ours", "--dtyp", "float32"], "--dtyp"),
}


@pytest.mark.parametrize("what", PLACES)
def test_places_and_options_that_do_not_serve_are_refused(what, folder):
    prepare, words, said = PLACES[what]
    prepare()
    before = everything(folder)
    assert said in refused("from-hf", *words)
    assert everything(folder) == before


def test_what_the_check_finds_wrong_never_appears(folder, monkeypatch):
    """No memory for answers, for one: what was asked for was not proven, so it is not there."""
    monkeypatch.setenv("DANLU_CACHE", str(folder / "cache"))
    state = load_file("theirs/model.safetensors")
    state[NORM][0] = float("nan")
    save_file(state, "theirs/model.safetensors", {"format": "pt"})
    before = everything(folder)
    said = refused("from-hf", "theirs", "--out", "ours", "--check", "tensors")
    assert "ours: was not written" in said
    assert everything(folder) == before
