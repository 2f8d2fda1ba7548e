"""A tied head leaves written out where vLLM would not tie it, and the model stays the same."""

import pytest
import torch

import exports
from conversions import done, tensors
from convert import check
from convert.served import OWN_HEAD
from danlu.model.families import choose
from model_shapes import SHAPES, config

FAMILY = {name: choose(config(name)).model_type for name in SHAPES}
TIED = [name for name, family in FAMILY.items() if family in OWN_HEAD and config(name).tie_word_embeddings]


@pytest.mark.parametrize("name", TIED)
def test_it_is_the_embedding_again_and_the_check_knows(name, tmp_path):
    source = exports.finished(tmp_path / "ours", exports.speaking(name))
    done("to-hf", source, "--out", tmp_path / "hf", "--check", "tensors")
    found = tensors(tmp_path / "hf")
    assert torch.equal(found["lm_head.weight"], found["model.embed_tokens.weight"])
    exports.put("config.json", "tie_word_embeddings", True)(tmp_path / "hf")
    case = check.open_case(tmp_path / "hf", str(source))
    assert any("tie_word_embeddings" in fault.place for fault in check.found_by(case, check.LOOK))


def test_there_is_a_case_of_each():
    assert {FAMILY[name] for name in TIED} == set(OWN_HEAD) - {"olmoe", "deepseek_v3"}


@pytest.mark.parametrize("name", ["qwen3", "llama"])
def test_elsewhere_a_tied_head_stays_tied(name, tmp_path):
    source = exports.finished(tmp_path / "ours", exports.speaking(name))
    done("to-hf", source, "--out", tmp_path / "hf", "--check", "none")
    assert "lm_head.weight" not in tensors(tmp_path / "hf")
