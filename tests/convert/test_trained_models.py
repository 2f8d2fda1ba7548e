"""Models that the engine trained answer in a real vLLM with the trainer's own greedy tokens, in fp32.

Three kinds learn a little on the starter set, by pretraining and then by chats: a dense model, a mixture of
experts, and a mixture with a shared expert without a gate. Each is exported by the command a user types.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import starter_set
import vllm_answers as answers
from conversions import done
from convert.vllm_side import Job, ask
from danlu import cli
from danlu.tokenizer.chat import encode_chat
from danlu.tokenizer.tokenizer import Tokenizer

LIMIT, NEXT = 1e-4, 16
pytestmark = [pytest.mark.slow, pytest.mark.vllm]

MODELS = {
    "dense": (["model=tiny"], "Qwen3ForCausalLM"),
    "moe": (["model=tiny-moe"], "Qwen3MoeForCausalLM"),
    "moe-shared": (
        ["model=tiny-moe", "model.moe.num_shared_experts=1", "model.qk_norm=false"],
        "Qwen2MoeForCausalLM",
    ),
}
QUICK = ["seq_len=128", "batch_tokens=1024", "device=cpu", "dtype=float32", "compile=false", "steps=36"]


def train(stage: str, *words: str) -> None:
    cli.cli.main(args=["train", stage, *QUICK, *words], standalone_mode=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Iterator[Path]:
    """A folder with the starter set and in out/ the three models, trained."""
    top = tmp_path_factory.mktemp("trained")
    before = Path.cwd()
    os.chdir(top)
    starter_set.make(top / "data")
    for name, (model, _) in MODELS.items():
        train(
            "pretrain", *model, "data.train=data/pretrain.jsonl", f"name=pretrained-{name}", "optim.lr=3e-3"
        )
        train("sft", f"model=out/pretrained-{name}", "data.train=data/sft.jsonl", f"name={name}")
    yield top
    os.chdir(before)


@pytest.fixture(scope="module")
def exported(place) -> dict[str, dict[str, Any]]:
    """The manifest of each model's export, every check passed, vLLM's among them."""
    manifests = {}
    for name in MODELS:
        done("to-hf", f"out/{name}", "--out", f"{name}-hf", "--dtype", "float32", "--check", "vllm")
        manifests[name] = json.loads(Path(f"{name}-hf/manifest.json").read_text())
    return manifests


@pytest.mark.parametrize("name", MODELS)
def test_every_greedy_token_is_the_trainer_s(name, exported):
    made = exported[name]
    prompts = made["parity"]["logits"]["prompts"]
    assert made["architecture"] == MODELS[name][1] and made["check"] == "vllm" and prompts >= 3
    for reader in ("greedy", "vllm"):
        assert made["parity"][reader]["equal"] == f"{prompts} of {prompts}"
    assert made["parity"]["vllm"]["largest_difference"] <= LIMIT
    assert made["source"]["stage"] == "sft"


def chats(folder: Path) -> list[list[int]]:
    """Return questions of the starter set as the model's own tokenizer and template write them."""
    words = Tokenizer.load(folder)
    rows = [json.loads(line) for line in Path("data/sft.jsonl").read_text(encoding="utf-8").splitlines()]
    asked = [row["conversations"] for row in rows[:: len(rows) // 6]]
    return [encode_chat(words, chat[:-1], None, add_generation_prompt=True).ids for chat in asked]


def test_chats_with_its_own_template_are_answered_alike(exported):
    prompts = chats(Path("out/dense"))
    assert len(prompts) >= 6 and len({len(one) for one in prompts}) > 3
    said = ask([Job(Path(f"{name}-hf"), prompts, 24) for name in MODELS])
    for name, answer in zip(MODELS, said):
        ours = answers.own(f"out/{name}", prompts, 24)
        assert answer.tokens == ours.tokens, name
        assert answers.furthest(answer, ours) <= LIMIT, name
        assert len({tuple(one) for one in answer.tokens}) > 1  # it learned to say more than one thing


def test_bfloat16_is_exported_with_what_rounding_did(exported):
    done("to-hf", "out/moe", "--out", "moe-bf16", "--check", "vllm")
    made = json.loads(Path("moe-bf16/manifest.json").read_text())
    parity = made["parity"]
    assert made["dtype"] == "bfloat16" and parity["vllm"]["equal"] == f"{parity['logits']['prompts']} of 3"
    assert 0 < parity["rounding"]["largest_change_of_a_logit"] < 1
    assert parity["rounding"]["same_best_word"] > 0.9
    size = [
        sum(file.stat().st_size for file in Path(f"moe-{end}").glob("*.safetensors"))
        for end in ("hf", "bf16")
    ]
    assert 1.9 < size[0] / size[1] < 2.1


def test_an_adapter_served_beside_its_base_answers_like_the_merged_export(exported, tmp_path):
    adapter, _ = answers.adapted(Path("dense-hf"), tmp_path)
    served, merged = tmp_path / "served", tmp_path / "merged-hf"
    done("to-hf", adapter, "--out", served)
    done("to-hf", "out/dense", "--adapter", adapter, "--out", merged, "--dtype", "float32", "--check", "vllm")
    prompts = chats(Path("out/dense"))
    base, beside, whole = ask(
        [
            Job(Path("dense-hf"), prompts, NEXT),
            Job(Path("dense-hf"), prompts, NEXT, adapter=served),
            Job(merged, prompts, NEXT),
        ]
    )
    assert beside.tokens == whole.tokens != base.tokens
    ours = answers.own(merged, prompts, NEXT)
    assert whole.tokens == ours.tokens
    assert max(answers.furthest(each, ours) for each in (beside, whole)) <= LIMIT
