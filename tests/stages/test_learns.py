"""A tiny model learns the starter set in minutes: it speaks its languages and knows facts it was told."""

from __future__ import annotations

import json
import math
import re
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from danlu.evaluate.load import load_model
from danlu.generate.engine import complete
from danlu.generate.settings import Sampling
from danlu.tokenizer.chat import encode_chat
from danlu.tokenizer.tokenizer import Tokenizer
from shell import call
from starter_set import rows

pytestmark = pytest.mark.slow

COMMANDS = """
data starter --out data
train pretrain model=tiny data.train=data/pretrain.jsonl epochs=2
    batch_tokens=4096 optim.name=muon optim.lr=6e-3
train sft from=out/pretrain_128 data.train=data/sft.jsonl,data/identity.jsonl
    batch_tokens=4096 optim.name=muon optim.lr=4e-3
"""
HELDOUT = 500  # chats about facts that are measured


def danlu(*words: str, cwd: Path) -> str:
    done = call(sys.executable, "-m", "danlu", *words, cwd=cwd, OMP_NUM_THREADS="2")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the commands were typed."""
    folder = tmp_path_factory.mktemp("learns")
    for line in re.sub(r"\n +", " ", COMMANDS).strip().splitlines():
        danlu(*shlex.split(line), *(["device=cpu"] if line.startswith("train") else []), cwd=folder)
    return folder


def test_its_loss_on_heldout_texts_is_far_below_what_counting_tokens_gives(folder):
    """The best guess that knows only how often each token comes is off by the entropy of the tokens."""
    measured = danlu(
        *"eval perplexity out/pretrain_128 --data data/heldout/pretrain.jsonl --device cpu --json".split(),
        cwd=folder,
    )
    tokenizer = Tokenizer.load("starter")
    texts = [row["text"] for row in rows(folder / "data/heldout/pretrain.jsonl")]
    tokens = Counter(token for ids in tokenizer.encode_many(texts) for token in [*ids, tokenizer.eos_id])
    entropy = -sum(n / tokens.total() * math.log(n / tokens.total()) for n in tokens.values())
    assert json.loads(measured)["loss"] < 0.4 * entropy


def is_chinese(chat: list[dict[str, Any]]) -> bool:
    """Whether a chat is held in Chinese: an English one may name Chinese words, but has other stops."""
    return bool(re.search("[，。？！：]", "".join(message["content"] for message in chat)))


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("name", ["sft", "identity"])
def test_it_answers_heldout_questions_in_the_very_words(folder, name, language):
    model, tokenizer = load_model(folder / "out/full_sft_128", "cpu", "float32")
    chats = [row["conversations"] for row in rows(folder / f"data/heldout/{name}.jsonl")][:HELDOUT]
    chats = [chat for chat in chats if is_chinese(chat) == (language == "zh")]
    assert len(chats) > 80
    prompts = [encode_chat(tokenizer, chat[:-1], add_generation_prompt=True).ids for chat in chats]
    answers = complete(model, tokenizer, prompts, Sampling(temperature=0, max_tokens=64))
    right = [answer.text == chat[-1]["content"] for answer, chat in zip(answers, chats)]
    assert sum(right) / len(right) >= 0.8
