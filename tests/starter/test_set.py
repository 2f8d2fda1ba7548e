"""A starter set is the same everywhere, is read without a bad row, and holds out what it says it does."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from danlu.base.errors import UserError
from danlu.data.records import dialogues, texts
from danlu.data.rows import BadRow
from danlu.data.sources import Source
from danlu.data_starter import command
from danlu.starter import dataset
from danlu.starter.world import World
from danlu.tokenizer.chat import encode_chats
from danlu.tokenizer.tokenizer import Tokenizer
from starter_set import PURPOSES, files, make, rows, said
from test_docs import commands, danlu

LONGEST = 512
MADE_UP = {"tools.jsonl", "notes.jsonl"}  # of values that are put together
CHINESE = re.compile(r"[\u4e00-\u9fff]")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make(tmp_path_factory.mktemp("starter") / "data")


@pytest.fixture(scope="module")
def english(tmp_path_factory) -> Path:
    return make(tmp_path_factory.mktemp("english") / "data", "--lang", "en")


@pytest.fixture(scope="module")
def chinese(tmp_path_factory) -> Path:
    """Made in a folder that was there, but empty."""
    return make(tmp_path_factory.mktemp("chinese"), "--lang", "zh")


def both(data: Path, name: str) -> list[dict]:
    return rows(data / name) + rows(data / "heldout" / name)


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_same_seed_gives_the_same_bytes_whatever_the_hash_seed(data, tmp_path, hash_seed):
    env = {**os.environ, "PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": hash_seed}
    line = [sys.executable, "-m", "danlu", "data", "starter", "--out", tmp_path / "again"]
    subprocess.run(line, env=env, check=True, capture_output=True)
    assert files(tmp_path / "again") == files(data)


def test_quietly_one_line_tells_of_all_files(tmp_path, data):
    line = [sys.executable, "-m", "danlu", "data", "starter", "--quiet", "--out", tmp_path / "again"]
    done = subprocess.run(line, check=True, capture_output=True, text=True)
    number = re.fullmatch(rf"{tmp_path}/again: ([\d,]+) rows, 23\.\d\d MB\n", done.stderr)
    told = sum(len(rows(file)) for file in data.rglob("*.jsonl"))
    assert number and int(number[1].replace(",", "")) > told  # tables count too
    assert files(tmp_path / "again") == files(data)


def test_another_seed_gives_other_rows_in_every_file(data, tmp_path):
    other = files(make(tmp_path / "other", "--seed", "1"))
    for name in PURPOSES:
        for path in (name, f"heldout/{name}"):
            assert other[path] != files(data)[path], path


@pytest.mark.parametrize("name", PURPOSES)
def test_every_row_is_read_for_its_purpose(data, name):
    for path in (data / name, data / "heldout" / name):
        found = list(Source([path], PURPOSES[name]).found())
        assert not [each for each in found if isinstance(each.record, BadRow)]
        assert len(found) == len(rows(path)) > 0


@pytest.mark.parametrize("name", PURPOSES)
def test_rows_of_a_file_differ(data, name):
    told = [repr(row) for row in rows(data / name)]
    assert len(set(told)) == len(told)


def test_no_question_is_asked_on_both_sides(data):
    told = {
        side: {text for name in PURPOSES for row in rows(data / side / name) for text in said(row, "user")}
        for side in ("", "heldout")
    }
    assert len(told["heldout"]) > 1500
    assert not told[""] & told["heldout"]


def test_no_text_stands_on_both_sides(data):
    for name in ("pretrain.jsonl", "classify.csv"):
        trained, heldout = ({row["text"] for row in rows(data / side / name)} for side in ("", "heldout"))
        assert not trained & heldout


def test_no_question_or_fact_of_a_heldout_text_stands_in_a_training_text(data):
    """Beside whole texts, their sentences: a question with its frame, a fact in one wording."""
    worlds = [World("zh"), World("en")]
    facts = {
        world.sentence(world.fill(form, row))
        for world in worlds
        for topic in world.facts
        for form in topic.lines["."]
        for row in topic.rows
    }
    asked = re.compile(r"^(?:问：|Question: )(.*)$", re.MULTILINE)

    def told(side: str) -> set[str]:
        texts = [row["text"] for row in rows(data / side / "pretrain.jsonl")]
        parts = {part for text in texts for part in re.split(r"(?<=[。！？])|\n|(?<=[.!?]) ", text)}
        return (parts & facts) | {question for text in texts for question in asked.findall(text)}

    assert len(told("heldout")) > 500
    assert not told("") & told("heldout")


def words(folder: Path) -> set[str]:
    """Every single character that the files of a folder say, and every English word.

    Names in the chats with tools and in notes are put together from syllables, each side's its own.
    """
    told = {name: "\n".join(text for row in rows(folder / name) for text in said(row)) for name in PURPOSES}
    plain = "\n".join(told[name] for name in PURPOSES.keys() - MADE_UP)
    return set(re.findall(r"[a-z]+", plain.lower())).union(*told.values())


def test_every_word_of_the_heldout_rows_occurs_in_training(data):
    assert words(data / "heldout") - words(data) == set()


def test_every_fact_is_told_in_training(data):
    told = "\n".join(
        text for name in ("pretrain", "sft") for row in rows(data / f"{name}.jsonl") for text in said(row)
    )
    closed = [
        world.reply(topic, number)
        for world in (World("zh"), World("en"))
        for topic in world.facts
        for number in range(len(topic.rows))
        if len(topic.rows) < 200
    ]
    assert len(closed) > 1500
    assert [fact for fact in closed if fact not in told] == []


@pytest.mark.parametrize("name", PURPOSES)
def test_no_row_is_longer_than_512_tokens(data, name):
    tokenizer = Tokenizer.load("starter")
    records = [
        record for side in ("", "heldout") for _, record in Source([data / side / name], PURPOSES[name])
    ]
    chats = [(chat.messages, chat.tools) for record in records for chat in dialogues(record)]
    plain = [] if chats else [text for record in records for text in texts(record)]
    lengths = [len(chat.ids) for chat in encode_chats(tokenizer, chats)]
    lengths += map(len, tokenizer.encode_many(plain))
    assert 0 < max(lengths) <= LONGEST


def test_classes_are_equally_frequent(data):
    for side in ("", "heldout"):
        labels = [row["label"] for row in rows(data / side / "classify.csv")]
        assert labels.count("0") == labels.count("1") == len(labels) / 2
    assert (data / "classify.csv").read_text(encoding="utf-8").startswith("text,label\n")


def test_the_steps_of_thoughts_are_true(data):
    steps = 0
    for row in both(data, "reason.jsonl"):
        answer = row["conversations"][-1]["content"]
        thoughts, result = re.fullmatch(
            r"<think>\n(.+)\n</think>\n<answer>\n(.+)\n</answer>", answer, re.DOTALL
        ).groups()
        for left, sign, right in re.findall(r"(\d+(?: ?[+-] ?\d+)?) ?([=>]) ?(\d+)", thoughts):
            numbers = [int(number) for number in re.findall(r"\d+", left)]
            value = (
                numbers[0] if len(numbers) == 1 else numbers[0] + (numbers[1] if "+" in left else -numbers[1])
            )
            assert value == int(right) if sign == "=" else value > int(right), thoughts
            steps += 1
        assert result in thoughts
    assert steps > 4000


def test_the_better_and_the_worse_answer_are_to_one_question(data):
    for row in both(data, "dpo.jsonl"):
        *asked, better = row["chosen"]
        *again, worse = row["rejected"]
        assert asked == again and better["role"] == worse["role"] == "assistant"
        assert better["content"] != worse["content"]


def test_a_prompt_waits_for_an_answer_whose_key_is_known(data):
    keys = {
        waiting: {
            world.reply(topic, number, short=True)
            for topic in [*world.facts, *world.reasons]
            for number in range(len(topic.rows))
        }
        for waiting, world in (("空", World("zh")), ("empty", World("en")))
    }
    for row in both(data, "rlaif.jsonl"):
        assert row["gt"] in keys[row["conversations"][-1]["content"]]


def test_chats_have_one_or_several_turns_with_and_without_a_system_message(data):
    chats = [row["conversations"] for row in rows(data / "sft.jsonl")]
    turns = [sum(message["role"] == "user" for message in chat) for chat in chats]
    system = sum(chat[0]["role"] == "system" for chat in chats)
    assert {1, 2, 3, 4} <= set(turns)
    assert 0.1 * len(chats) < system < 0.5 * len(chats)


def test_the_names_asked_for_are_the_ones_told(tmp_path):
    data = make(tmp_path / "data", "--name", "阿瓜 {x}", "--maker", "三班")
    told = "\n".join(text for row in both(data, "identity.jsonl") for text in said(row))
    assert "我叫阿瓜 {x}。" in told and "My name is 阿瓜 {x}." in told and "三班" in told
    assert not re.search("丹丹|丹炉|Dandan|Danlu", told)


@pytest.mark.parametrize(("language", "least", "most"), [("chinese", 0.9, 1.0), ("english", 0.0, 0.03)])
def test_one_language_alone(request, language, least, most):
    """What is left of the other one are the words that are translated."""
    data = request.getfixturevalue(language)
    for name in PURPOSES.keys() - MADE_UP:
        text = "".join(text for row in both(data, name) for text in said(row))
        letters = re.sub(r"[\W\d_]", "", re.sub("</?(think|answer)>", "", text))
        assert least <= len(CHINESE.findall(letters)) / len(letters) <= most, name


def test_a_small_set_is_a_few_megabytes(data):
    sizes = {name: len(content) for name, content in files(data).items()}
    assert 5e6 < sum(sizes.values()) < 25e6
    assert all(size for size in sizes.values())


def test_each_file_is_said_with_its_rows_and_size(tmp_path):
    done = CliRunner().invoke(command, ["--out", str(tmp_path / "data")])
    for name, file in dataset.FILES.items():
        assert re.search(rf"data/{name}: {file.rows:,} rows, \d+\.\d+ MB", done.output), done.output


@pytest.mark.slow
def test_a_medium_set_is_ten_times_as_large(data, tmp_path):
    medium = make(tmp_path / "medium", "--size", "medium")
    for name in PURPOSES:
        assert len(rows(medium / name)) == 10 * len(rows(data / name))


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_set_that_is_there_already_is_left_alone(english):
    before = times(english)
    assert "is there already" in CliRunner().invoke(command, ["--out", str(english), "--lang", "en"]).output
    assert times(english) == before


@pytest.mark.parametrize("options", [["--seed", "1"], ["--name", "Ada"]])
def test_another_set_is_never_written_over(english, options):
    before = times(english)
    with pytest.raises(UserError, match="is not empty") as error:
        CliRunner().invoke(command, ["--out", str(english), "--lang", "en", *options], catch_exceptions=False)
    assert "another --out" in error.value.hint
    assert times(english) == before


def test_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="README.md is not in it"):
        CliRunner().invoke(command, ["--out", str(tmp_path)], catch_exceptions=False)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", ["two\nlines", "x" * 41, "\u200b"])
def test_what_is_no_name_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="--name"):
        CliRunner().invoke(command, ["--out", str(tmp_path / "data"), "--name", name], catch_exceptions=False)
    assert not (tmp_path / "data").exists()


def test_its_readme_shows_commands_that_are_understood_for_files_that_are_there(data):
    english, chinese = commands(data / "README.md"), commands(data / "README.zh-CN.md")
    assert english == chinese
    for line in english:
        first, *rest = shlex.split(line)
        assert first == "danlu"
        danlu(*rest)
        for path in re.findall(r"(?<![\w/])data/([\w./]+)", line):
            assert (data / path).exists(), line
