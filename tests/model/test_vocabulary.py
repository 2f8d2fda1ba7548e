"""Weights with more or fewer words: what the old words say stays the same, bit for bit."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import tokenizer_kinds as kinds
from danlu.base.errors import UserError
from danlu.generate import load as generate_load
from danlu.model import disk, vocabulary, weights
from danlu.model.build import build_empty
from danlu.model.config import resolve
from danlu.tokenizer import surgery
from danlu.tokenizer.tokenizer import Tokenizer
from model_shapes import BASE, config, model

transformers = pytest.importorskip("transformers")

NAMES = ["qwen3", "llama with all biases, untied", "mixtral", "gpt2", "phi"]
TEXTS = ["炼丹炉里炼丹，丹炉旁炼丹。furnaces\n"] * 3


@pytest.fixture(params=NAMES)
def folder(request, tmp_path):
    """Finished weights of the starter tokenizer in several files, with three rows that are no words."""
    cfg = config(request.param).model_copy(update={"vocab_size": 2051})
    old = tmp_path / "old"
    old.mkdir()
    weights.save(
        model(cfg).state_dict(), cfg, old, shard_size=100_000, extra={"eos_token_id": 2, "pad_token_id": 0}
    )
    kinds.starter().save(old)
    (old / "generation_config.json").write_text('{"eos_token_id": [2, 0], "temperature": 0.7}')
    (old / "run.json").write_text('{"stage": "sft", "weight": "full_sft"}')
    return old


def ours(folder):
    built = build_empty(weights.read_config(folder))
    weights.load(folder, built)
    return lambda tokens_BT: built.logits(built(tokens_BT).hidden)


def theirs(folder):
    loaded, told = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(told[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), told
    return lambda tokens_BT: loaded(tokens_BT).logits


def longer(folder, out, init="mean", multiple=64):
    old = Tokenizer.load(folder)
    extended = surgery.learn_tokens(old, TEXTS, old.size + 7)
    rows = max(weights.read_config(folder).vocab_size, vocabulary.padded(extended.tokenizer.size, multiple))
    words = vocabulary.larger(old, extended.tokenizer, extended.pieces, rows, init)
    vocabulary.write(folder, out, words, {"by": "extend"})
    return extended


@pytest.mark.parametrize("read", [ours, theirs])
@torch.no_grad()
def test_a_larger_model_says_the_same_of_old_tokens(folder, tmp_path, read):
    longer(folder, tmp_path / "new")
    tokens_BT = torch.randint(0, 2048, (2, 33), generator=torch.Generator().manual_seed(0))
    before_BTV, after_BTV = read(folder)(tokens_BT), read(tmp_path / "new")(tokens_BT)
    assert before_BTV.shape[-1] == 2051 and after_BTV.shape[-1] == 2112
    assert torch.equal(after_BTV[..., :2048], before_BTV[..., :2048])


def tensors(folder):
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


def test_only_rows_of_words_change_and_new_ones_are_the_mean_of_their_pieces(folder, tmp_path):
    extended = longer(folder, tmp_path / "new")
    before, after = tensors(folder), tensors(tmp_path / "new")
    assert before.keys() == after.keys()
    for name, old in before.items():
        new = after[name]
        if len(old) != 2051:
            assert torch.equal(old, new), name
            continue
        assert torch.equal(new[:2048], old[:2048])
        for number, ids in enumerate(extended.pieces, 2048):
            assert torch.allclose(new[number], sum(old[i] for i in ids) / len(ids), atol=1e-6)
        assert torch.allclose(new[2055:], old[:2048].mean(0).expand(57, *old.shape[1:]), atol=1e-6)
    if (tmp_path / "new" / disk.INDEX).exists():
        index = json.loads((tmp_path / "new" / disk.INDEX).read_text())
        assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in after.values())


def test_the_result_is_finished_weights_like_any_other(folder, tmp_path):
    extended = longer(folder, tmp_path / "new")
    made, tokenizer = generate_load.load_model(tmp_path / "new", "cpu")
    assert made.cfg.vocab_size == 2112 == json.loads((tmp_path / "new/config.json").read_text())["vocab_size"]
    assert tokenizer.fingerprint == extended.tokenizer.fingerprint
    told = generate_load.provenance(tmp_path / "new")
    assert told["stage"] == "sft" and told["from"]["weight"] == "full_sft"
    assert told["vocabulary"]["rows"] == 2112 and told["tokenizer"] == tokenizer.fingerprint


def test_noise_tells_words_of_the_same_pieces_apart(tmp_path):
    rows_VC = torch.randn(300, 8, generator=torch.Generator().manual_seed(1))
    old = kinds.starter()
    old.size = 300
    grown = {
        init: vocabulary.larger(old, old, [[5, 7], [7, 5]], 302, init).change(rows_VC)
        for init in vocabulary.INITS
    }
    assert torch.equal(grown["mean"][300], grown["mean"][301])
    assert not torch.equal(grown["noise"][300], grown["noise"][301])
    assert float((grown["noise"] - grown["mean"]).abs().max()) < 0.6 * float(rows_VC.std())
    assert torch.allclose(grown["average"][300], rows_VC.mean(0))


def fewer(folder, out, keep=None):
    old = Tokenizer.load(folder)
    trimmed = surgery.trim(old, surgery.uses(old, TEXTS), keep, vocabulary.token_ids(folder))
    rows = vocabulary.padded(trimmed.tokenizer.size, 64)
    vocabulary.write(folder, out, vocabulary.smaller(trimmed.tokenizer, trimmed.kept, rows), {"by": "trim"})
    return trimmed


@pytest.mark.parametrize("read", [ours, theirs])
@torch.no_grad()
def test_a_smaller_model_says_the_same_of_kept_tokens(folder, tmp_path, read):
    trimmed = fewer(folder, tmp_path / "new")
    size = trimmed.tokenizer.size
    assert size < 400
    tokens_BT = torch.randint(0, size, (2, 33), generator=torch.Generator().manual_seed(0))
    kept = torch.tensor(trimmed.kept)
    before_BTV = read(folder)(kept[tokens_BT])[..., kept]
    assert torch.equal(read(tmp_path / "new")(tokens_BT)[..., :size], before_BTV)
    assert weights.read_config(tmp_path / "new").vocab_size == vocabulary.padded(size, 64)


def test_a_smaller_models_configurations_name_the_same_tokens(folder, tmp_path):
    def said(folder):
        read, found = Tokenizer.load(folder), []
        for name in ("config.json", "generation_config.json"):
            ids = json.loads((folder / name).read_text())["eos_token_id"]
            found.append([read.decode([i]) for i in (ids if isinstance(ids, list) else [ids])])
        return found, read.decode([read.eos_id, read.pad_id, read.bos_id])

    fewer(folder, tmp_path / "new", keep=300)
    assert said(tmp_path / "new") == said(folder)
    assert json.loads((tmp_path / "new/generation_config.json").read_text())["temperature"] == 0.7


def test_numbers_of_tokens_follow_their_tokens():
    described = {"eos_token_id": [5, 9], "bos_token_id": 5, "pad_token_id": None, "vocab_size": 10}
    assert vocabulary.renumbered(described, {5: 0, 9: 1}) == {
        "eos_token_id": [0, 1],
        "bos_token_id": 0,
        "pad_token_id": None,
        "vocab_size": 10,
    }


def test_the_number_format_stays(folder, tmp_path):
    for file in folder.glob("*.safetensors"):
        save_file(
            {name: tensor.bfloat16() for name, tensor in load_file(file).items()}, file, {"format": "pt"}
        )
    longer(folder, tmp_path / "new")
    assert {tensor.dtype for tensor in tensors(tmp_path / "new").values()} == {torch.bfloat16}


def test_weights_that_contradict_their_config_are_refused_and_nothing_is_left(folder, tmp_path):
    path = folder / "config.json"
    described = json.loads(path.read_text())
    described["vocab_size"] = 2052
    described["danlu"]["vocab_size"] = 2052
    path.write_text(json.dumps(described))
    with pytest.raises(UserError, match="has 2051 rows, config.json says 2052"):
        longer(folder, tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


@torch.no_grad()
def test_a_family_that_is_only_read_is_written_as_the_one_it_leaves_as(tmp_path):
    shape = {"num_key_value_heads": 6, "qkv_bias": True, "output_bias": True, "tie_word_embeddings": False}
    cfg = resolve({**BASE, **shape, "vocab_size": 2048})
    folder = tmp_path / "old"
    folder.mkdir()
    weights.save(model(cfg).state_dict(), cfg, folder, extra={"eos_token_id": 2})
    kinds.starter().save(folder)
    described = json.loads((folder / "config.json").read_text()) | {"model_type": "internlm", "bias": True}
    del described["danlu"]
    (folder / "config.json").write_text(json.dumps(described))
    longer(folder, tmp_path / "new")
    tokens_BT = torch.randint(0, 2048, (2, 33), generator=torch.Generator().manual_seed(0))
    before_BTV = ours(folder)(tokens_BT)
    assert torch.equal(ours(tmp_path / "new")(tokens_BT)[..., :2048], before_BTV)
    assert float((theirs(tmp_path / "new")(tokens_BT)[..., :2048] - before_BTV).abs().max()) < 1e-5
    assert json.loads((tmp_path / "new/config.json").read_text())["model_type"] == "llama"
