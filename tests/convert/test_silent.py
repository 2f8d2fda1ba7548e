"""Where an export could be wrong without a word: each case is right, or refused in words."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import exports
from convert.checks.logits import prompts
from convert.checks.peer import transformers
from convert.export import export
from danlu.base.errors import UserError
from danlu.checkpoint.store import Store
from danlu.model import weights
from danlu.model.disk import Disk
from exports import edited, put, tensors
from model_shapes import model

CONFIG = "config.json"


def scaled(folder: Path) -> None:
    """Stretch positions, as a user of transformers would, and save again."""
    library = transformers()
    made = library.AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    made.config.rope_parameters = {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e6}
    made.save_pretrained(folder)


CHANGED = {
    "a key": (put(CONFIG, "rms_norm_eps", 1e-3), "norm_eps: was changed to 0.001, it was trained as 1e-06"),
    "positions of one version": (put(CONFIG, "rope_theta", 5.0), "rope_theta: was changed to 5.0"),
    "positions, by transformers": (scaled, "rope_scaling.*: was changed to"),
}


@pytest.mark.parametrize("kind", CHANGED)
def test_a_source_that_was_changed_beside_our_section_is_refused_until_that_is_removed(tmp_path, kind):
    change, problem = CHANGED[kind]
    source = exports.finished(tmp_path / "source", exports.speaking())
    exports.exported(source, tmp_path / "before")
    change(source)
    with pytest.raises(UserError, match=problem):
        exports.exported(source, tmp_path / "hf")
    if kind != "positions of one version":
        with edited(source / CONFIG) as content:
            del content["danlu"]
        out = exports.exported(source, tmp_path / "hf")
        assert exports.faults(out, source) == []


def test_another_vocabulary_than_run_json_tells_is_refused(tmp_path):
    source = exports.finished(tmp_path / "source", exports.speaking())
    with edited(source / "run.json") as told:
        told["tokenizer"] = exports.WORDS.fingerprint
    exports.exported(source, tmp_path / "hf")
    put("tokenizer_config.json", "eos_token", "<|endoftext|>")(source)
    with pytest.raises(UserError, match="tokenizer.json: is another one than the model was trained with"):
        exports.exported(source, tmp_path / "hf")


def spoiling(monkeypatch, change):
    """Let something happen after weights were written and before they are checked."""
    before = export.__globals__["write_beside"]

    def write_beside(order, recipe, folder):
        before(order, recipe, folder)
        change()

    monkeypatch.setitem(export.__globals__, "write_beside", write_beside)


def test_a_run_may_go_on_while_it_is_exported(tmp_path, monkeypatch):
    cfg = exports.speaking()
    run = exports.run(tmp_path / "run", cfg, steps=(1,))

    def save():
        store = Store(run)
        store.save(2, {"model": model(cfg, seed=9).state_dict()}, {"step": 2}, wait=True)
        store.close()

    spoiling(monkeypatch, save)
    out = exports.exported(run, tmp_path / "hf", check="tensors")
    assert json.loads((out / "manifest.json").read_text())["source"]["step"] == 1


def test_a_source_that_changes_meanwhile_is_not_exported(tmp_path, monkeypatch, capfd):
    source = exports.finished(tmp_path / "source", exports.speaking())
    spoiling(monkeypatch, lambda: tensors(lambda state: state["model.norm.weight"].add_(1))(source))
    with pytest.raises(UserError, match="was not written"):
        exports.exported(source, tmp_path / "hf", check="tensors")
    assert "fault: model.norm.weight: " in capfd.readouterr().err
    assert not (tmp_path / "hf").exists()


@pytest.mark.parametrize("target", ["an export", "nothing"])
def test_a_link_is_not_replaced_by_a_folder(tmp_path, target):
    source = exports.finished(tmp_path / "source", exports.speaking())
    place = tmp_path / "export"
    if target == "an export":
        exports.exported(source, place)
    (tmp_path / "link").symlink_to(place)
    with pytest.raises(UserError, match="link: is a link"):
        exports.exported(source, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("longest", [4, 12, 13, 16, 40])
def test_prompts_fit_into_the_shortest_of_models(tmp_path, longest):
    cfg = exports.speaking(max_position_embeddings=longest)
    assert all(1 <= len(prompt) <= longest for prompt in prompts(exports.WORDS.size, cfg))
    source = exports.finished(tmp_path / "source", cfg)
    assert exports.faults(exports.exported(source, tmp_path / "hf"), source) == []


def test_learned_positions_that_are_few_are_enough(tmp_path):
    source = exports.finished(tmp_path / "source", exports.speaking("gpt2", max_position_embeddings=9))
    assert exports.faults(exports.exported(source, tmp_path / "hf"), source) == []


def test_more_rows_than_words_leave_whole(tmp_path):
    source = exports.finished(tmp_path / "source", exports.speaking(vocab_size=exports.WORDS.size + 70))
    out = exports.exported(source, tmp_path / "hf")
    assert Disk(out).stored["model.embed_tokens.weight"].shape[0] == exports.WORDS.size + 70
    assert exports.faults(out, source) == []


def without_our_section(folder: Path) -> None:
    with edited(folder / CONFIG) as content:
        del content["danlu"]


def test_a_tied_model_with_its_head_written_too_is_read_if_both_are_one(tmp_path):
    source = exports.finished(tmp_path / "source", exports.speaking("llama"))
    without_our_section(source)
    tensors(lambda state: state.update({"lm_head.weight": state["model.embed_tokens.weight"].clone()}))(
        source
    )
    out = exports.exported(source, tmp_path / "hf")
    assert "lm_head.weight" not in Disk(out) and exports.faults(out, source) == []
    tensors(lambda state: state["lm_head.weight"].mul_(2))(source)
    with pytest.raises(UserError, match="lm_head.weight: differs from model.embed_tokens.weight"):
        exports.exported(source, tmp_path / "other")


@pytest.mark.parametrize("shape, keys", [("llama", {"arch": "Phi3ForCausalLM"}), ("qwen3_moe", {})])
def test_parts_of_several_formats_are_rounded_by_none_of_them(tmp_path, shape, keys):
    """What lies in one tensor elsewhere, or in one of ours, is as exact as its most exact part."""
    cfg = exports.speaking(shape, tie_word_embeddings=False)
    source = exports.finished(tmp_path / "source", cfg)
    tensors(lambda state: state.update({k: v.bfloat16() for k, v in state.items() if ".gate_proj" in k}))(
        source
    )
    tensors(lambda state: state.update({k: v.bfloat16() for k, v in state.items() if ".q_proj" in k}))(source)
    out = exports.exported(source, tmp_path / "hf", torch.float32, **keys)
    assert exports.faults(out, source) == []
    again = weights.read_state(out)
    for name, tensor in weights.read_state(source).items():
        assert torch.equal(again[name], tensor), name


def test_whole_numbers_are_no_weights(tmp_path):
    source = exports.finished(tmp_path / "source", exports.speaking())
    out = exports.exported(source, tmp_path / "hf", torch.float32)
    exports.without_manifest(out)
    exports.foreign(out)
    tensors(lambda state: state.update({k: v.int() for k, v in state.items() if ".up_proj" in k}))(out)
    found = exports.faults(out, source, "tensors")
    assert any("up_proj" in fault and "real numbers" in fault for fault in found)


def test_a_foreign_folder_may_be_wider_here_and_there_and_never_narrower(tmp_path):
    source = exports.finished(tmp_path / "source", exports.speaking())
    out = exports.exported(source, tmp_path / "hf")
    exports.foreign(out)
    name = "model.layers.1.mlp.up_proj.weight"
    wide = load_file(source / "model.safetensors")[name]
    tensors(lambda state: state.update({name: wide}))(out)
    assert exports.faults(out, source, "tensors") == []
    out = exports.exported(source, tmp_path / "float32", torch.float32)
    exports.foreign(out)
    tensors(lambda state: state.update({name: wide.bfloat16()}))(out)
    assert exports.faults(out, source, "tensors") == [
        f"{name}: is torch.bfloat16, most of the weights are torch.float32"
    ]


ODD = {
    "no begin": lambda folder: _settings(folder, bos_token=None),
    "no padding": lambda folder: _settings(folder, pad_token=None),
    "ends in a list": lambda folder: (folder / "generation_config.json").write_text(
        '{"eos_token_id": [2, 77]}'
    ),
    "more tokens": lambda folder: _add(folder, "<|more|>", True),
    "more words": lambda folder: _add(folder, "丹炉", False),
    "a padding truncation": lambda folder: _truncated(folder),
    "a list of extra tokens": lambda folder: _settings(folder, extra_special_tokens=["<|im_start|>"]),
    "no template": lambda folder: _without_template(folder),
}


def _settings(folder: Path, **keys: object) -> None:
    with edited(folder / "tokenizer_config.json") as content:
        content.update(keys)


def _add(folder: Path, text: str, special: bool) -> None:
    with edited(folder / "tokenizer.json") as content:
        usual = content["added_tokens"][0]
        content["added_tokens"].append(
            usual | {"id": exports.WORDS.size, "content": text, "special": special}
        )


def _truncated(folder: Path) -> None:
    with edited(folder / "tokenizer.json") as content:
        content["truncation"] = {
            "direction": "Right",
            "max_length": 3,
            "strategy": "LongestFirst",
            "stride": 0,
        }


def _without_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    with edited(folder / "tokenizer_config.json") as content:
        del content["chat_template"]


@pytest.mark.parametrize("kind", ODD)
def test_odd_words_leave_as_they_are(tmp_path, kind):
    source = exports.finished(tmp_path / "source", exports.speaking(vocab_size=exports.WORDS.size + 1))
    ODD[kind](source)
    out = exports.exported(source, tmp_path / "hf")
    assert exports.faults(out, source) == []
    generation = json.loads((out / "generation_config.json").read_text())
    assert ("77" in str(generation["eos_token_id"])) == (kind == "ends in a list")


WORDS = {
    "accents composed": ("tokenizer.json", "normalizer", {"type": "NFC"}),
    "a space before a text": ("tokenizer.json", "pre_tokenizer.add_prefix_space", True),
    "spaces cleaned up": ("tokenizer_config.json", "clean_up_tokenization_spaces", True),
    "another class": ("tokenizer_config.json", "tokenizer_class", "LlamaTokenizer"),
    "a begin that is added": ("tokenizer_config.json", "add_bos_token", True),
}


@pytest.mark.parametrize("kind", WORDS)
def test_words_that_were_changed_are_found(tmp_path, kind):
    source = exports.finished(tmp_path / "source", exports.speaking())
    out = exports.exported(source, tmp_path / "hf")
    exports.without_manifest(out)
    file, key, value = WORDS[kind]
    put(file, key, value)(out)
    said = exports.faults(out, source)
    assert any(re.match(f"{file}: ", line) for line in said), said


def test_a_moved_vocabulary_of_a_run_is_told(tmp_path):
    words = tmp_path / "words"
    exports.WORDS.save(words)
    exports.described(tmp_path / "run", cfg := exports.speaking(), words)
    store = Store(tmp_path / "run")
    store.save(1, {"model": model(cfg).state_dict()}, {"step": 1}, wait=True)
    store.close()
    exports.exported(tmp_path / "run", tmp_path / "hf")
    shutil.move(words, tmp_path / "elsewhere")
    with pytest.raises(UserError, match="words'?: no such folder"):
        exports.exported(tmp_path / "run", tmp_path / "hf")
