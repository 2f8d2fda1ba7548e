"""A check passes what is right, whoever wrote it, and fails what is wrong in ways that no one field tells."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import exports
from convert.checks.peer import transformers
from convert.export import environment
from danlu.base.errors import UserError
from danlu.model.disk import INDEX
from exports import put, tensors
from model_shapes import SHAPES

WHOLE = [
    "qwen3",
    "gemma2",
    "phi3, longrope",
    "falcon, rounded slopes",
    "deepseek_v3",
    "qwen2_moe",
    "glm4_moe",
]
AS_QWENS = ["qwen2", "qwen2, windows in the last layers"]
"""Whose words transformers 5 reads with a class of its own, so that they are not ours any more."""


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_is_found_right_and_so_is_what_transformers_saves_of_it(tmp_path, name):
    source = exports.finished(tmp_path / "source", exports.speaking(name), None)
    right = exports.exported(source, tmp_path / "hf")
    assert exports.faults(right, source, "logits" if name in WHOLE else "tensors") == []
    library = transformers()
    again = tmp_path / "again"
    library.AutoModelForCausalLM.from_pretrained(right, dtype="auto").save_pretrained(again)
    assert exports.faults(again, source, "tensors") == []
    with exports.edited(again / "config.json") as content:
        del content["danlu"]
    assert exports.faults(again, source, "logits" if name in WHOLE else "tensors") == []


@pytest.mark.parametrize("name", ["qwen3", "llama", "glm4_moe"])
def test_words_that_transformers_saved_again_are_the_same_words(tmp_path, name):
    source = exports.finished(tmp_path / "source", exports.speaking(name))
    again = exports.exported(source, tmp_path / "hf")
    library = transformers()
    library.AutoTokenizer.from_pretrained(again).save_pretrained(again)
    exports.foreign(again)
    assert exports.faults(again, source) == []


@pytest.mark.parametrize("name", AS_QWENS)
def test_words_that_transformers_reads_otherwise_are_told(tmp_path, name):
    source = exports.finished(tmp_path / "source", exports.speaking(name))
    (said,) = exports.faults(exports.exported(source, tmp_path / "hf"), source)
    assert said.startswith("tokenizer.json: '1234567890") and "Qwen2Tokenizer for any qwen2" in said


# What we do not read ourselves, and transformers does.
UNREAD = {
    "gpt2": put("config.json", "scale_attn_by_inverse_layer_idx", True),
    "bloom": put("config.json", "apply_residual_connection_post_layernorm", True),
    "gpt2, relu, untied": put("config.json", "scale_attn_weights", False),
}


@pytest.mark.parametrize("name", UNREAD)
def test_a_key_that_only_transformers_reads_is_found(tmp_path, name):
    source = exports.finished(tmp_path / "source", exports.speaking(name))
    wrong = exports.exported(source, tmp_path / "hf", torch.float32)
    exports.foreign(wrong)
    UNREAD[name](wrong)
    assert any(re.match("logits: part by|config.json: ", line) for line in exports.faults(wrong, source))


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    """A source, and an export in many files."""
    top = tmp_path_factory.mktemp("sharded")
    source = exports.finished(top / "source", exports.speaking("qwen3_moe"))
    return source, exports.exported(source, top / "hf", shard_size=40_000)


def index(change):
    def spoil(folder):
        with exports.edited(folder / INDEX) as content:
            change(content)

    return spoil


FIRST, SECOND = "model-00001-of-", "model-00002-of-"


def files(folder, start):
    return next(folder.glob(f"{start}*"))


NORM = "model.norm.weight"
SHARDS = {
    "the index names another file": (
        index(lambda c: c["weight_map"].update({NORM: c["weight_map"]["model.embed_tokens.weight"]})),
        rf"{NORM}: is not in model-00001-of-",
    ),
    "the index misses a tensor": (
        index(lambda c: c["weight_map"].pop(NORM)),
        rf"(weight_map: )?{NORM}: is missing",
    ),
    "the index has one too many": (
        index(lambda c: c["weight_map"].update(more=c["weight_map"][NORM])),
        "more: is not in model-",
    ),
    "the index counts wrongly": (
        index(lambda c: c["metadata"].update(total_size=1)),
        r"model.safetensors.index.json: metadata: total_size: is 1, ",
    ),
    "the index is no index": (lambda f: (f / INDEX).write_text("[]"), r"index.json: cannot be read"),
    "a file is cut short": (
        lambda f: files(f, SECOND).write_bytes(files(f, SECOND).read_bytes()[:-2]),
        f"{SECOND}.*cannot be read",
    ),
    "a file is missing": (lambda f: files(f, SECOND).unlink(), f"{SECOND}.*(missing|cannot be read)"),
    "a file stands for another": (
        lambda f: shutil.copy(files(f, FIRST), files(f, SECOND)),
        f"({SECOND}|{FIRST}).*: is in model-",
    ),
    "a file that nobody reads": (
        lambda f: shutil.copy(files(f, FIRST), f / "model.safetensors"),
        "model.safetensors: ",
    ),
    "an adapter beside": (
        lambda f: (f / "adapter_config.json").write_text("{}"),
        "adapter_config.json: ",
    ),
}


@pytest.mark.parametrize("look", exports.LOOKS)
@pytest.mark.parametrize("fault", SHARDS)
def test_faults_of_files_are_found(sharded, tmp_path, fault, look):
    source, right = sharded
    spoil, said = SHARDS[fault]
    wrong = Path(shutil.copytree(right, tmp_path / "wrong"))
    exports.LOOKS[look](wrong)
    spoil(wrong)
    found = exports.faults(wrong, source)
    assert any(re.search(said, line) for line in found), found


def test_many_files_are_found_right(sharded):
    source, right = sharded
    assert len(list(right.glob("model-*.safetensors"))) > 6
    assert exports.faults(right, source) == []


def command(*words):
    """Return what a command of `python -m convert` ends with and says."""
    done = subprocess.run(
        [sys.executable, "-m", "convert", *map(str, words)],
        capture_output=True,
        text=True,
        env=environment() | {"OMP_NUM_THREADS": "1"},
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr


def test_the_command_ends_with_0_1_or_2(tmp_path):
    source = exports.finished(tmp_path / "source", exports.speaking())
    right = exports.exported(source, tmp_path / "hf")
    report = tmp_path / "report.json"
    code, said = command("check", right, "--against", source, "--report", report)
    assert code == 0 and "right. 35 tensors equal to the bit; logits within " in said
    assert json.loads(report.read_text())["measured"]["greedy"]["equal"] == "3 of 3"
    tensors(lambda state: state["model.norm.weight"].mul_(2))(right)
    code, said = command("check", right, "--against", source, "--report", report)
    assert code == 1 and "fault: model.norm.weight: 48 of 48 numbers are not the source's" in said
    assert any(fault["place"] == "model.norm.weight" for fault in json.loads(report.read_text())["faults"])
    (right / "config.json").write_text("{")
    code, said = command("check", right, "--against", source)
    assert code == 2 and f"error: {right}/config.json: cannot be read" in said


HALF = {
    "a weight": ("model.layers.1.input_layernorm.weight", 1e5, "input_layernorm.weight: holds 1e+05"),
    "an activation": ("model.layers.1.input_layernorm.weight", 3e4, "model.layers.1"),
    "NaN": ("model.layers.1.input_layernorm.weight", float("nan"), "input_layernorm.weight: holds NaN"),
}


@pytest.mark.parametrize("kind", HALF)
def test_what_float16_cannot_hold_is_not_exported(tmp_path, capfd, kind):
    name, factor, said = HALF[kind]
    source = exports.finished(tmp_path / "source", exports.speaking("llama"))
    tensors(lambda state: state[name].mul_(factor))(source)
    with pytest.raises(UserError) as error:
        exports.exported(source, tmp_path / "hf", torch.float16, check="logits")
    found = f"{error.value}\n{capfd.readouterr().err}"
    assert said in found and ("float16 ends at 65504" in found or kind == "NaN"), found
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]
