"""The shipped starter tokenizer is what its script makes, byte for byte."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from danlu.base.errors import UserError
from danlu.starter import corpus
from danlu.tokenizer.tokenizer import STARTER
from danlu.tokenizer.train import train

TRAIN = [sys.executable, "-m", "danlu", "tokenizer", "train"]
FILES = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_script_makes_the_shipped_files_again(tmp_path, hash_seed):
    env = {**os.environ, "PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": hash_seed}
    subprocess.run([*TRAIN, "--out", tmp_path], env=env, check=True)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (STARTER / name).read_bytes(), name


def test_own_text_makes_an_own_tokenizer(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("炼丹炼丹炼丹 abcabcabc abcabcabc\n" * 3, encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    command = [
        sys.executable,
        "-m",
        "danlu",
        "tokenizer",
        "train",
        "--out",
        tmp_path / "own",
        "--size",
        "268",
    ]
    subprocess.run([*command, "--text", text], env=env, check=True)
    assert (tmp_path / "own" / "tokenizer.json").is_file()


@pytest.mark.parametrize(
    ("special", "size"), [("a", 274), ("Ġ", 274), ("\u0142", 274), ("the", 274), ("Ġthe", 274)]
)
def test_a_control_token_that_text_could_become_is_refused(special, size):
    with pytest.raises(UserError, match="whoever types it would steer"):
        train(["the cat <|> the dog <|> the end\n"] * 20, size, [special])


@pytest.mark.parametrize("special", ["<|tool|>", "<the>", "炼", "the cat"])
def test_a_control_token_with_signs_of_its_own_is_never_made_of_text(special):
    made = train(["the cat <|> the dog 炼 <the> the end\n"] * 20, 272, [special])
    assert 3 not in made.encode(f"{special} the {special}")
    assert made.control[special]["id"] == 3


def test_too_little_text_for_the_size_is_said():
    with pytest.raises(UserError, match="300 were asked for"):
        train(["a"], size=300)


def test_slots_that_are_no_words_stay():
    grammar = corpus.Grammar("english", 0)
    assert grammar.fill('f"{x}" {"a": 1}') == 'f"{x}" {"a": 1}'
    assert "{" not in grammar.fill("{person} {verb} {number}")
