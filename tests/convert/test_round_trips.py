"""There and back: every number that went out comes home, to the bit, by name, whoever carried it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import exports
import minimind_reference as reference
from conversions import convert, differences, done, once, tensors, theirs, written
from convert.minimind import Hints
from danlu import cli
from danlu.generate.load import load_model
from danlu.model import weights
from danlu.model.laid import STACKS
from minimind_reference import Small
from model_oracle import logits
from model_shapes import SHAPES, config
from transformers_reading import read

UNCHECKED = ("--check", "none")
TOKENS_BT = torch.tensor([[5, 91, 3, 3, 40, 17, 0, 62], [1, 2, 3, 4, 5, 6, 7, 300]])


def alike(one: Path, other: Path) -> None:
    assert not list(differences(once(tensors(one)), once(tensors(other))))


@pytest.mark.parametrize("name", SHAPES)
def test_what_we_trained_leaves_and_comes_back(name, tmp_path):
    source = exports.finished(tmp_path / "ours", config(name), words=None)
    done("to-hf", source, "--out", tmp_path / "hf", "--dtype", "float32", *UNCHECKED)
    exports.foreign(tmp_path / "hf")  # no section of ours tells how to read it
    done("from-hf", tmp_path / "hf", "--out", tmp_path / "again", *UNCHECKED)
    if name == "qwen2_moe from an ungated shared expert":  # whose gate, a constant, is now one like others
        alike(source, tmp_path / "again")
        return
    found, wanted = weights.read_state(tmp_path / "again"), weights.read_state(source)
    assert not list(differences(once(found), wanted))


@pytest.mark.parametrize("name", SHAPES)
def test_what_transformers_wrote_is_brought_in_and_leaves_as_it_was(name, tmp_path):
    original = written(tmp_path / "theirs", theirs(config(name)))
    done("from-hf", original, "--out", tmp_path / "ours", *UNCHECKED)
    done("to-hf", tmp_path / "ours", "--out", tmp_path / "hf", "--dtype", "float32", *UNCHECKED)
    alike(tmp_path / "hf", original)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["qwen3", "gpt2", "phi3", "bloom", "glm4_moe", "deepseek_v2"])
def test_in_many_files_and_few_bits_too(name, dtype, tmp_path):
    made = theirs(config(name)).to(dtype)
    original = written(tmp_path / "theirs", made, max_shard_size="60KB")
    assert len(list(original.glob("*.safetensors"))) > 2
    ours, hf = tmp_path / "ours", tmp_path / "hf"
    done("from-hf", original, "--out", ours, "--shard-size", "40KB", *UNCHECKED)
    word = str(dtype).removeprefix("torch.")
    done("to-hf", ours, "--out", hf, "--dtype", word, "--shard-size", "1MB", *UNCHECKED)
    found, wanted = once(tensors(hf)), tensors(original)
    # What must stay exact leaves in float32, which holds all that was there.
    found = {key: value.to(wanted[key].dtype) for key, value in found.items()}
    assert not list(differences(found, wanted))
    assert json.loads((hf / "config.json").read_text())["torch_dtype"] == word
    assert len(list(ours.glob("*.safetensors"))) > 2


@pytest.mark.parametrize("name", ["qwen3", "falcon, groups", "qwen3_moe", "gpt2"])
def test_each_leg_of_the_way_passes_every_check(name, tmp_path):
    original = written(tmp_path / "theirs", theirs(exports.speaking(name)), exports.WORDS)
    ours, hf, report = tmp_path / "ours", tmp_path / "hf", tmp_path / "report.json"
    done("from-hf", original, "--out", ours, *UNCHECKED)
    done("to-hf", ours, "--out", hf, "--dtype", "float32", *UNCHECKED)
    alike(hf, original)
    for folder, source in ((ours, original), (hf, ours)):
        done("check", folder, "--against", source, "--report", report)
        parity = json.loads(report.read_text())["measured"]
        prompts = parity["logits"]["prompts"]
        assert parity["greedy"]["equal"] == f"{prompts} of {prompts}"
        assert parity["rounding"]["largest_change_of_a_logit"] == 0


def test_the_checks_are_made_unasked_by_a_process_of_its_own(tmp_path):
    original = written(tmp_path / "theirs", theirs(exports.speaking("mixtral")), exports.WORDS)
    done("from-hf", original, "--out", tmp_path / "ours")
    manifest = json.loads((tmp_path / "ours/manifest.json").read_text())
    assert manifest["check"] == "logits" and manifest["parity"]["greedy"]["equal"] == "3 of 3"
    assert manifest["parity"]["experts"]["parted"] == 0 < manifest["parity"]["experts"]["choices_compared"]


# Experts in stacks or one by one

MIXTURES = {name for name, shape in SHAPES.items() if "moe" in shape}


@pytest.fixture(params=sorted(MIXTURES))
def mixture(request, tmp_path) -> Path:
    """A mixture as transformers writes it, in bfloat16 and many files."""
    made = theirs(config(request.param)).to(torch.bfloat16)
    return written(tmp_path / "split", made, max_shard_size="60KB")


def test_experts_are_stacked_and_written_one_by_one_again(mixture, tmp_path):
    done("experts", "merge", mixture, "--out", tmp_path / "merged", "--shard-size", "100KB")
    done("experts", "split", tmp_path / "merged", "--out", tmp_path / "again")
    alike(tmp_path / "again", mixture)
    stacks = {name for name in tensors(tmp_path / "merged") if ".experts." in name}
    assert stacks and all(name.endswith(STACKS) for name in stacks)
    assert len(list((tmp_path / "merged").glob("*.safetensors"))) > 2
    for folder in ("merged", "again"):
        assert json.loads((tmp_path / folder / "config.json").read_text()) == json.loads(
            (mixture / "config.json").read_text()
        )
        assert convert("inspect", tmp_path / folder).code == 0


def test_stacked_experts_answer_alike_here_and_in_transformers(mixture, tmp_path):
    done("experts", "merge", mixture, "--out", tmp_path / "merged")
    exports.WORDS.save(tmp_path / "merged")
    separate, told = read(mixture)
    merged, also = read(tmp_path / "merged")
    assert not told["wrong"] and not also["wrong"]
    with torch.inference_mode():
        wanted = separate(TOKENS_BT).logits
        assert torch.equal(merged(TOKENS_BT).logits, wanted)
        ours = weights.read_state(tmp_path / "merged")
        assert not list(differences(ours, weights.read_state(mixture)))


@pytest.mark.parametrize("name", ["qwen3_moe", "glm4_moe"])
def test_a_stacked_folder_is_talked_to_exported_and_trained(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exports.finished(tmp_path / "one", exports.speaking(name))
    done("experts", "merge", "one", "--out", "merged")
    made, _ = load_model("merged", "cpu", "float32")
    other, _ = load_model("one", "cpu", "float32")
    with torch.inference_mode():
        assert torch.equal(logits(made, TOKENS_BT), logits(other, TOKENS_BT))
    for folder in ("merged", "one"):
        done("to-hf", folder, "--out", f"{folder}-hf", *UNCHECKED)
    alike(tmp_path / "merged-hf", tmp_path / "one-hf")
    (tmp_path / "corpus.jsonl").write_text(json.dumps({"text": "stacked or one by one"}) + "\n")
    losses = [trained(folder) for folder in ("merged", "one")]
    assert losses[0] == losses[1]


def trained(folder: str) -> float:
    """Return the loss of the first step of a run from a folder's weights."""
    words = [f"model={folder}", f"from={folder}", "data.train=corpus.jsonl", "steps=1", "seq_len=32"]
    words += ["batch_tokens=32", "device=cpu", "dtype=float32", "compile=false", f"run_dir=run-{folder}"]
    cli.cli.main(args=["train", "pretrain", *words, f"name=more-{folder}"], standalone_mode=False)
    line = Path(f"run-{folder}/metrics.jsonl").read_text().splitlines()[0]
    return float(json.loads(line)["loss"])


# MiniMind's files

FILES = {
    "2": (Small("2"), Hints()),
    "2, MoE": (Small("2", experts=4, shared=1), Hints()),
    "2, MoE, two shared, 3 a token": (
        Small("2", experts=5, shared=2, chosen=3),
        Hints(num_experts_per_tok=3),
    ),
    "3": (Small("3", kv=4, eps=1e-6), Hints()),
    "3, untied": (Small("3", kv=4, eps=1e-6, tied=False), Hints()),
    "3, MoE": (Small("3", kv=4, eps=1e-6, experts=4, chosen=1), Hints()),
}


def told(hints: Hints) -> list[str]:
    words = []
    for key, value in vars(hints).items():
        words += [f"--{key.replace('_', '-')}", str(value)] if value is not None else []
    return words


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_minimind_comes_in_and_leaves_as_it_was(name, tmp_path):
    small, hints = FILES[name]
    state = reference.made(small)
    torch.save(state, tmp_path / "a.pth")
    done("from-pth", tmp_path / "a.pth", "--out", tmp_path / "ours", *told(hints), *UNCHECKED)
    done("to-pth", tmp_path / "ours", "--out", tmp_path / "b.pth")
    again = torch.load(tmp_path / "b.pth", weights_only=True)
    assert list(again) == list(state)
    assert not list(differences(again, state))


@pytest.mark.parametrize("name", ["2", "2, MoE", "3", "3, MoE"])
def test_what_we_trained_leaves_as_a_file_and_comes_back(name, tmp_path):
    small, hints = FILES[name]
    torch.save(reference.made(small, dtype=torch.float32), tmp_path / "shape.pth")
    done("from-pth", tmp_path / "shape.pth", "--out", tmp_path / "ours", *told(hints), *UNCHECKED)
    ended = done("to-pth", tmp_path / "ours", "--out", tmp_path / "a.pth")
    settings = json.loads(ended.out)
    assert settings["num_attention_heads"] == small.heads and settings["hidden_size"] == small.width
    done("from-pth", tmp_path / "a.pth", "--out", tmp_path / "again", *told(hints), *UNCHECKED)
    alike(tmp_path / "again", tmp_path / "ours")


@pytest.mark.parametrize("name", ["2", "2, MoE", "3, untied", "3, MoE"])
def test_a_file_of_minimind_goes_on_to_hugging_face_and_back(name, tmp_path):
    small, hints = FILES[name]
    state = reference.made(small)
    torch.save(state, tmp_path / "a.pth")
    done("from-pth", tmp_path / "a.pth", "--out", tmp_path / "ours", *told(hints), *UNCHECKED)
    done("to-hf", tmp_path / "ours", "--out", tmp_path / "hf", "--dtype", "float16", *UNCHECKED)
    done("from-hf", tmp_path / "hf", "--out", tmp_path / "back", *UNCHECKED)
    done("to-pth", tmp_path / "back", "--out", tmp_path / "b.pth")
    assert not list(differences(torch.load(tmp_path / "b.pth", weights_only=True), state))
