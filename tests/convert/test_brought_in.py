"""What others wrote is brought in as it is: every number, the words, how it ends; whatever it lies in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import exports
from conversions import convert, differences, done, refused, tensors
from danlu.model.config import read_type
from downloads import Lies, both, pickled, sharded, without_index
from hub.server import Host
from model_oracle import logits, read
from stages.test_foreign import READ_ONLY, foreign

UNCHECKED = ("--check", "none")
TOKENS_BT = torch.tensor([[5, 91, 3, 3, 40, 17, 0, 62]])


LIE: dict[str, Lies] = {
    "in one file": lambda path: None,
    "in three with an index": sharded,
    "in three without": without_index,
    "pickled": pickled,
    "pickled before torch 1.6": lambda path: pickled(path, zipped=False),
    "pickled in two": lambda path: pickled(path, 2),
    "in both formats": both,
    "with a tied head written out": lambda path: save_file(
        load_file(path / "model.safetensors")
        | {"lm_head.weight": load_file(path / "model.safetensors")["model.embed_tokens.weight"].clone()},
        path / "model.safetensors",
        {"format": "pt"},
    ),
}


@pytest.mark.parametrize("how", LIE)
def test_weights_are_read_however_they_lie(how, folder, shelf):
    LIE[how](folder / "theirs")
    done("from-hf", "theirs", "--out", "ours", *UNCHECKED)
    done("check", "ours", "--against", "theirs", "--check", "tensors")
    assert not list(differences(tensors(folder / "ours"), tensors(shelf / "llama")))
    assert not list((folder / "ours").glob("*.bin"))


def test_every_tensor_keeps_its_own_number_format(folder):
    state = load_file("theirs/model.safetensors")
    kinds = [torch.bfloat16, torch.float32, torch.float16]
    mixed = {name: tensor.to(kinds[number % 3]) for number, (name, tensor) in enumerate(state.items())}
    save_file(mixed, "theirs/model.safetensors", {"format": "pt"})
    done("from-hf", "theirs", "--out", "ours", *UNCHECKED)
    done("check", "ours", "--against", "theirs")
    assert not list(differences(tensors(folder / "ours"), mixed))
    told = json.loads(Path("ours/manifest.json").read_text())
    assert told["dtype"] == "as stored" and told["brought_in"]


# What lies beside them


def test_words_template_and_generation_come_along(folder):
    known = {"temperature": 0.6, "top_k": 20, "do_sample": True, "eos_token_id": [2, 7], "bos_token_id": 1}
    Path("theirs/generation_config.json").write_text(json.dumps(known | {"transformers_version": "4.51.0"}))
    done("from-hf", "theirs", "--out", "ours", *UNCHECKED)
    done("check", "ours", "--against", "theirs")
    kept = json.loads(Path("ours/generation_config.json").read_text())
    assert (kept["temperature"], kept["top_k"], kept["do_sample"]) == (0.6, 20, True)
    assert set(kept["eos_token_id"]) >= {2, 7, exports.WORDS.eos_id} and "transformers_version" not in kept
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert Path("ours", name).read_bytes() == Path("theirs", name).read_bytes()
    assert json.loads(Path("ours/run.json").read_text())["from"]["path"] == "theirs"


def test_without_words_it_comes_in_too_and_that_is_said(folder):
    for file in Path("theirs").glob("*token*"):
        file.unlink()
    Path("theirs/generation_config.json").write_text(json.dumps({"eos_token_id": [2, 7], "top_p": 0.9}))
    ended = done("from-hf", "theirs", "--out", "ours", *UNCHECKED)
    assert "without its words" in ended.err
    done("check", "ours", "--against", "theirs")
    kept = json.loads(Path("ours/generation_config.json").read_text())
    assert kept["eos_token_id"] == [2, 7] and kept["top_p"] == 0.9
    assert not list(Path("ours").glob("tokenizer*"))


def test_words_from_elsewhere_are_put_beside_it(folder):
    """A download that only has a SentencePiece model, for one."""
    Path("words").mkdir()
    exports.WORDS.save(folder / "words")
    Path("theirs/tokenizer.json").rename("theirs/tokenizer.model")
    done("from-hf", "theirs", "--out", "ours", "--tokenizer", "words", *UNCHECKED)
    done("check", "ours", "--against", "theirs", "--tokenizer", "words")
    assert Path("ours/tokenizer.json").read_bytes() == Path("words/tokenizer.json").read_bytes()


def test_what_comes_in_is_what_danlu_train_takes_from(folder):
    from danlu import cli

    done("from-hf", "theirs", "--out", "ours", *UNCHECKED)
    Path("corpus.jsonl").write_text('{"text": "the small model learns"}\n')
    words = ["model=ours", "data.train=corpus.jsonl", "steps=2", "seq_len=32", "batch_tokens=32"]
    words += ["device=cpu", "dtype=float32", "compile=false", "run_dir=run", "name=more", "optim.lr=1e-3"]
    cli.cli.main(args=["train", "pretrain", *words], standalone_mode=False)
    first, second = (json.loads(line)["loss"] for line in Path("run/metrics.jsonl").read_text().splitlines())
    assert second < first
    assert json.loads(Path("out/more/run.json").read_text())["from"]["name"] == "ours"


# Hubs


@pytest.fixture
def hub(folder, monkeypatch):
    """A hub of this machine with the Llama, what is wrong with some, and no other network."""
    there = {path.name: path.read_bytes() for path in Path("theirs").iterdir()}
    sharded(folder / "theirs")
    pieces = {path.name: path.read_bytes() for path in Path("theirs").iterdir()}
    described = json.loads(there["config.json"])
    odd = there | {"config.json": json.dumps(described | {"model_type": "qwen9"}).encode()}
    code = {"modeling_llama.py": b"raise SystemExit", "README.md": b"#"}
    monkeypatch.setenv("DANLU_CACHE", str(folder / "cache"))
    for name in ("HF_HUB_OFFLINE", "DANLU_OFFLINE", "DANLU_HUB", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("MODELSCOPE_HOME", str(folder / "ms"))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(folder / "ms-cache"))
    shelves = {"me/one": there | code, "me/pieces": pieces | code, "me/odd": odd}
    with Host(shelves).open() as host:
        monkeypatch.setenv("HF_ENDPOINT", host.url)
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", host.url)
        yield host


@pytest.mark.parametrize("named", ["hf://me/one", "ms://me/pieces", "me/pieces"])
def test_a_name_on_a_hub_is_fetched_and_brought_in(named, hub, shelf, folder, monkeypatch):
    done("from-hf", named, "--out", "ours", *UNCHECKED)
    monkeypatch.setenv("DANLU_OFFLINE", "1")  # the second time it is there
    done("check", "ours", "--against", named)
    assert not list(differences(tensors(folder / "ours"), tensors(shelf / "llama")))
    assert json.loads(Path("ours/manifest.json").read_text())["source"]["path"] == named
    assert not list(Path("ours").glob("*.py"))


@pytest.mark.parametrize(
    ("named", "said"),
    [("hf://me/none", "no such model"), ("me/none", "no such model"), ("me/odd", "'qwen9' is not a family")],
)
def test_a_name_that_does_not_serve_is_refused_before_weights_are_fetched(named, said, hub):
    assert said in refused("from-hf", named, "--out", "ours")
    assert not [path for _, path, _ in hub.asked if path.endswith(".safetensors")]


# Families that are read and not written


@pytest.mark.parametrize("name", READ_ONLY)
def test_families_that_are_only_read_become_what_they_are(name, folder):
    foreign(name, folder / "odd")
    ended = done("from-hf", "odd", "--out", "ours", *UNCHECKED)
    checked = done("check", "ours", "--against", "odd")
    with torch.inference_mode():
        assert torch.equal(*(logits(read(folder / one), TOKENS_BT) for one in ("ours", "odd")))
    stays = name == "baichuan 13B"
    assert (read_type(folder / "ours") == "danlu") == stays
    assert ("never exported" in ended.err) == stays
    assert ("no answers to compare" in checked.err) == stays
    if stays:
        assert "no published architecture" in refused("to-hf", "ours", "--out", "hf")
    else:
        done("to-hf", "ours", "--out", "hf", "--dtype", "float32", *UNCHECKED)
        done("check", "hf", "--against", "odd")


# Faults in what was brought in


@pytest.mark.parametrize("name", ["llama", "qwen3_moe"])
def test_a_number_that_went_wrong_is_found_and_named(name, shelf, tmp_path):
    out, place = tmp_path / "ours", "model.layers.1.self_attn.k_proj.weight"
    done("from-hf", shelf / name, "--out", out, *UNCHECKED)
    assert convert("check", out, "--against", shelf / name, "--check", "tensors").code == 0

    def spoil(state):
        state[place].view(torch.int32)[3, 5] ^= 1

    exports.tensors(spoil)(out)
    for look in (lambda path: None, exports.without_manifest):
        look(out)
        ended = convert("check", out, "--against", shelf / name, "--check", "tensors")
        assert ended.code == 1
        assert f"fault: {place}: 1 of" in ended.err and "at [3, 5]" in ended.err


def test_a_config_that_went_wrong_is_found_and_named(shelf, tmp_path):
    done("from-hf", shelf / "llama", "--out", tmp_path / "ours", *UNCHECKED)
    exports.without_manifest(tmp_path / "ours")
    exports.put("config.json", "rms_norm_eps", 1e-3)(tmp_path / "ours")
    ended = convert("check", tmp_path / "ours", "--against", shelf / "llama")
    assert ended.code == 1 and "norm_eps" in ended.err
