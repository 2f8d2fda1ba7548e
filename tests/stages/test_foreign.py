"""Models from elsewhere, named by model=: every family is trained, resumed, saved and loaded again."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
import torch.nn.functional as F

from corpus import chats
from danlu import cli
from danlu.base.errors import UserError
from danlu.evaluate.load import load_model
from danlu.model import weights
from danlu.model.config import read_hf, read_type, resolve
from danlu.model.decoder import Decoder
from danlu.model.families import FAMILIES, get, laid_out_as
from danlu.model.layout import InMemory
from danlu.tokenizer.tokenizer import Tokenizer
from model_shapes import SHAPES, config, model

TOKENIZER = Tokenizer.load("starter")
TEXT = "the small model learns to speak two languages 你好 world 丹炉"
QUICK = [
    "data.train=corpus.jsonl",
    "seq_len=64",
    "batch_tokens=64",
    "device=cpu",
    "dtype=float32",
    "compile=false",
    "optim.lr=1e-3",
]
ONE_EACH = {name.split(",")[0].split()[0]: name for name in reversed(SHAPES)}

# What transformers does not have: the shape that is read, and the config.json as published.
PUBLISHED = {
    "vocab_size": 2048,
    "hidden_size": 48,
    "intermediate_size": 112,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
}
HEADS = {"num_key_value_heads": 6, "tie_word_embeddings": False}
DEEPSEEK = {"num_experts_per_tok": 2, "moe_intermediate_size": 40, "norm_topk_prob": False}
READ_ONLY = {
    "internlm": (
        HEADS | {"qkv_bias": True, "output_bias": True},
        {"max_position_embeddings": 512, "bias": True},
    ),
    "internlm2": (
        {"tie_word_embeddings": False},
        {"max_position_embeddings": 512, "num_key_value_heads": 2, "bias": False},
    ),
    "baichuan": (HEADS, {"max_position_embeddings": 512}),
    "baichuan 13B": (HEADS | {"position": "alibi", "may_stay": True}, {"model_max_length": 512}),
    "deepseek": (
        HEADS | {"moe": DEEPSEEK | {"num_experts": 5, "num_shared_experts": 2, "first_dense_layers": 1}},
        {
            **DEEPSEEK,
            "max_position_embeddings": 512,
            "n_routed_experts": 5,
            "n_shared_experts": 2,
            "first_k_dense_replace": 1,
        },
    ),
}
EVERY = [*ONE_EACH, *READ_ONLY]


def train(*words):
    cli.cli.main(args=["train", "pretrain", *QUICK, *words], standalone_mode=False)


def foreign(name, folder) -> Decoder:
    """Write a folder as it lies on a hub, nothing of ours in it, and return what is in it."""
    folder.mkdir()
    if name in READ_ONLY:
        shape, published = READ_ONLY[name]
        made = model(config("llama", vocab_size=2048, **shape))
        kind = name.split()[0]
        described = PUBLISHED | published | {"model_type": kind}
        weights.save_as(get(kind), InMemory(made.state_dict()), made.cfg, folder, lambda _: torch.float32)
    else:
        made = model(config(ONE_EACH[name], vocab_size=2048))
        weights.save(made.state_dict(), made.cfg, folder)
        described = json.loads((folder / "config.json").read_text())
        del described["danlu"]
    (folder / "config.json").write_text(json.dumps(described))
    TOKENIZER.save(folder)
    return made


def losses(run) -> list[float]:
    """The cross-entropy of every step, without what a mixture of experts adds."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] - line.get("balance", 0.0) for line in lines]


@torch.no_grad()
def cross_entropy(made: Decoder) -> float:
    """The mean over the text's tokens, by the model alone."""
    ids = [*TOKENIZER.beginning(), *TOKENIZER.encode(TEXT), TOKENIZER.eos_id]
    tokens_1T = torch.tensor([ids])
    logits_1TV = made.logits(made(tokens_1T[:, :-1]).hidden)
    return float(F.cross_entropy(logits_1TV[0], tokens_1T[0, 1:]))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus.jsonl").write_text(json.dumps({"text": TEXT}) + "\n")
    return tmp_path


def test_every_family_is_here():
    assert {name.split()[0] for name in EVERY} == set(FAMILIES)


@pytest.mark.parametrize("name", EVERY)
def test_a_download_of_every_family_is_trained_from_its_weights_and_saved(name, folder):
    made = foreign(name, folder / "theirs")
    train("model=theirs", "steps=2", "run_dir=run", "name=done")
    first, second = losses(folder / "run")
    assert first == pytest.approx(cross_entropy(made), rel=1e-4)
    assert "from: theirs" in (folder / "run/config.yaml").read_text()
    again, tokenizer = load_model("out/done", "cpu", "float32")
    assert cross_entropy(again) < second < first and tokenizer.fingerprint == TOKENIZER.fingerprint
    assert read_type(folder / "out/done") == laid_out_as(made.cfg).model_type
    assert (read_type(folder / "out/done") == "danlu") == (name == "baichuan 13B")


@pytest.mark.parametrize("name", ["qwen3", "gpt2", "gemma3_text", "deepseek_v3", "baichuan 13B", "deepseek"])
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(name, folder):
    foreign(name, folder / "theirs")
    train("model=theirs", "steps=4", "save_every=2", "run_dir=whole")
    train("model=theirs", "steps=4", "resume=whole/step-000002", "run_dir=rest")
    assert losses(folder / "rest") == losses(folder / "whole")[2:]


def test_our_own_finished_weights_are_named_the_same_way(folder):
    foreign("baichuan 13B", folder / "theirs")
    train("model=theirs", "steps=2", "run_dir=a", "name=one")
    train("model=out/one", "steps=1", "run_dir=b", "name=two")
    assert losses(folder / "b")[0] < losses(folder / "a")[1]
    assert json.loads((folder / "out/two/run.json").read_text())["from"]["name"] == "one"


def test_chats_are_learned_by_a_download_too(folder):
    made = foreign("qwen3", folder / "theirs")
    chats(folder / "chats.jsonl", rows=8)
    words = [*QUICK[1:], "data.train=chats.jsonl", "model=theirs", "steps=1", "run_dir=run", "optim.lr=1e-9"]
    cli.cli.main(args=["train", "sft", *words], standalone_mode=False)
    after = weights.read_state(folder / "out/full_sft_48")
    for name, tensor in made.state_dict().items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=1e-6)


def test_a_larger_tokenizer_is_refused_without_proposing_another_shape(folder):
    foreign("llama", folder / "theirs")
    described = json.loads((folder / "theirs/config.json").read_text())
    (folder / "theirs/config.json").write_text(json.dumps(described | {"vocab_size": 1000}))
    with pytest.raises(UserError, match="the tokenizer has 2048") as refusal:
        train("model=theirs", "steps=1", "run_dir=a")
    assert refusal.value.hint == "another tokenizer="


def test_model_names_weights_and_its_config_json_a_shape(folder, capsys):
    made = foreign("llama", folder / "theirs")
    train("model=theirs/config.json", "steps=1", "run_dir=a", "name=a")
    assert losses(folder / "a")[0] != pytest.approx(cross_entropy(made), rel=1e-4)
    assert "from: ''" in (folder / "a/config.yaml").read_text()
    (folder / "theirs/model.safetensors").unlink()
    capsys.readouterr()
    train("model=theirs", "steps=1", "run_dir=b", "name=b")
    assert losses(folder / "b") == losses(folder / "a")
    assert "its shape alone is taken" in capsys.readouterr().err


def test_two_folders_give_the_weights_of_from_if_their_shapes_are_one(folder):
    foreign("llama", folder / "one")
    shutil.copytree(folder / "one", folder / "two")
    made = model(read_hf(folder / "two"), seed=7)
    weights.save(made.state_dict(), made.cfg, folder / "two")
    train("model=one", "from=two", "steps=1", "run_dir=a")
    assert losses(folder / "a")[0] == pytest.approx(cross_entropy(made), rel=1e-4)
    foreign("qwen2", folder / "three")
    with pytest.raises(UserError, match="from: three holds another model") as refusal:
        train("model=one", "from=three", "steps=1", "run_dir=b")
    assert "leave model= away" in refusal.value.hint


def test_changed_keys_are_another_model_and_only_a_shape_takes_them(folder):
    foreign("llama", folder / "theirs")
    with pytest.raises(UserError, match="holds another model") as refusal:
        train("model=theirs", "model.num_hidden_layers=2", "steps=1", "run_dir=a")
    assert "model=FOLDER/config.json" in refusal.value.hint
    train("model=theirs/config.json", "model.num_hidden_layers=2", "steps=1", "run_dir=a")
    assert resolve("out/pretrain_48").num_hidden_layers == 2


def test_what_was_never_published_is_refused_until_it_may_stay(folder):
    shape = ["model=tiny", "model.position=alibi", "steps=1", "run_dir=a"]
    with pytest.raises(UserError, match="no published architecture") as refusal:
        train(*shape)
    assert "model.may_stay=true" in refusal.value.hint
    train(*shape, "model.may_stay=true")
    assert json.loads((folder / "out/pretrain_128/config.json").read_text())["model_type"] == "danlu"


@pytest.mark.parametrize(
    ("key", "value", "how"),
    [
        ("quantization_config", {"quant_method": "fp8"}, "fp8"),
        ("quantization_config", {"bits": 4}, "unknown"),
        ("torch_dtype", "float8_e4m3fn", "float8"),
    ],
)
def test_quantised_weights_are_refused_and_their_shape_is_not(folder, key, value, how):
    foreign("llama", folder / "theirs")
    described = json.loads((folder / "theirs/config.json").read_text())
    described.pop("dtype", None)
    (folder / "theirs/config.json").write_text(json.dumps(described | {key: value}))
    with pytest.raises(UserError, match=f"theirs: its weights are quantised .{how}") as refusal:
        train("model=theirs", "steps=1", "run_dir=a")
    assert "bfloat16" in refusal.value.hint
    assert resolve("theirs/config.json").hidden_size == 48


def test_a_download_without_a_tokenizer_that_is_read_here_needs_one_named(folder):
    foreign("llama", folder / "theirs")
    (folder / "theirs/tokenizer.json").rename(folder / "theirs/tokenizer.model")
    with pytest.raises(UserError, match="has tokenizer.model but no tokenizer.json"):
        train("model=theirs", "steps=1", "run_dir=a")
    train("model=theirs", "steps=1", "run_dir=a", "tokenizer=starter")
    assert (folder / "out/pretrain_48/tokenizer.json").exists()


def test_the_keys_of_a_run_show_which_weights_it_begins_with(folder, capsys):
    foreign("llama", folder / "theirs")
    cli.cli.main(args=["config", "pretrain", "model=theirs"], standalone_mode=False)
    assert 'from = "theirs"' in capsys.readouterr().out
