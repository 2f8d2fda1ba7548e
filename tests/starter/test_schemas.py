"""Every shape of row has a small bilingual file, read without a bad row for each purpose it serves."""

from __future__ import annotations

import base64
import csv
import io
import json
import random
import re
import zlib
from pathlib import Path

import pytest

from danlu.data.recipe import read
from danlu.data.records import Caption, Dialogue, PictureDialogue, Tokens, recognise
from danlu.data.rows import BadRow
from danlu.data.sources import Source
from danlu.starter import schemas, tools
from danlu.starter.pictures import COLOURS, SIDE
from danlu.tokenizer.chat import encode_chat
from danlu.tokenizer.tokenizer import Tokenizer
from starter_set import make

LEAST = 20
CHAT = ("chat", "prompt")
FILES = {  # the shape and the purposes of each
    "pretrain.jsonl": ("pretrain", ("pretrain",)),
    "pretrain_content.jsonl": ("pretrain content", ("pretrain",)),
    "tokenised.jsonl": ("tokenised rows", ("pretrain",)),
    "sft_chat.jsonl": ("sft chat", ("chat",)),
    "sft_messages.jsonl": ("sft messages", CHAT),
    "alpaca.jsonl": ("alpaca", CHAT),
    "belle.jsonl": ("belle", CHAT),
    "context_target.jsonl": ("context/target", CHAT),
    "adgen.jsonl": ("adgen", CHAT),
    "reason.jsonl": ("reason", ("chat",)),
    "tool_sft.jsonl": ("tool sft", ("chat",)),
    "xlam_raw.jsonl": ("xlam raw", CHAT),
    "glaive_raw.jsonl": ("glaive raw", ("chat",)),
    "feedback_log.jsonl": ("feedback log", CHAT),
    "dpo_chat.jsonl": ("dpo chat", ("preference",)),
    "hh_rlhf.jsonl": ("hh-rlhf", ("preference",)),
    "rlaif.jsonl": ("rlaif", ("prompt",)),
    "agent_rl.jsonl": ("agent rl", ("prompt",)),
    "classification.csv": ("classification", ("classify",)),
    "classification_gb18030.csv": ("classification", ("classify",)),
    "clip_pairs.jsonl": ("clip pairs", ("caption",)),
    "chinese_clip_texts.jsonl": ("chinese-clip", ("retrieval",)),
    "retrieval_eval.jsonl": ("retrieval eval", ("retrieval",)),
    "llava.json": ("llava", ("picture",)),
}
OTHERS = {"multisource.yaml", "chinese_clip_imgs.tsv", "img"}
CHINESE = re.compile(r"[\u4e00-\u9fff]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make(tmp_path_factory.mktemp("set") / "data") / "schemas"


def lines(folder: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]


def test_there_is_a_file_for_every_shape_and_no_other(folder):
    assert {path.name for path in folder.iterdir()} == FILES.keys() | OTHERS


@pytest.mark.parametrize(("name", "purpose"), [(name, each) for name in FILES for each in FILES[name][1]])
def test_every_row_is_read_in_its_shape(folder, name, purpose):
    found = list(Source([folder / name], purpose).found())
    assert [each.record for each in found if isinstance(each.record, BadRow)] == []
    assert {each.shape for each in found} == {FILES[name][0]}
    assert len(found) >= LEAST


def test_the_folder_is_read_whole(folder):
    found = list(Source([folder], None).found())
    assert [each.record for each in found if isinstance(each.record, BadRow)] == []
    shapes = {shape for shape, _ in FILES.values()}
    assert {each.shape for each in found} == shapes - {"rlaif"}, "which without a purpose is a chat"


@pytest.mark.parametrize("name", sorted(FILES.keys() - {"retrieval_eval.jsonl"}))
def test_half_of_the_rows_are_chinese(folder, name):
    """Rows that ask for a word in the other language hold both."""
    told = [each.record for each in Source([folder / name], FILES[name][1][0]).found()]
    if name == "tokenised.jsonl":
        texts = [
            bytes(id - 3 for id in each.ids if id > 2).decode() for each in told if isinstance(each, Tokens)
        ]
    elif name == "clip_pairs.jsonl":
        texts = [text for each in told if isinstance(each, Caption) for text in each.texts]
    else:  # what stands in quotes may be of the other language
        texts = [re.sub('"[^"]*"', "", repr(each)) for each in told]
    chinese = [len(CHINESE.findall(text)) > len(re.findall("[A-Za-z]+", text)) / 20 for text in texts]
    assert 0.35 * len(texts) <= sum(chinese) <= 0.8 * len(texts)


@pytest.mark.parametrize("name", sorted(FILES))
def test_rows_of_a_file_differ(folder, name):
    told = [repr(each.record) for each in Source([folder / name], FILES[name][1][0]).found()]
    assert len(set(told)) == len(told)


def test_where_a_model_erred_the_feedback_is_preferred(folder):
    rows = lines(folder, "feedback_log.jsonl")
    found = list(Source([folder / "feedback_log.jsonl"], "preference").found())
    assert [not isinstance(each.record, BadRow) for each in found] == [row["is_error"] for row in rows]
    assert len({row["is_error"] for row in rows}) == 2


def test_tools_written_flat_are_read_as_tools(folder):
    """The flat rows are the dialogues they are made of, token for token."""
    tokenizer, dice = Tokenizer.load("starter"), random.Random(3)
    for kind in tools.KINDS:
        for language in tools.LANGUAGES:
            row = tools.dialogue(dice, False, kind, language)
            whole = encode_chat(tokenizer, row["messages"], row["tools"])
            flat = encode_chat(tokenizer, schemas.flat(row))
            assert (flat.ids, flat.weights) == (whole.ids, whole.weights)
    called = [
        row for row in lines(folder, "tool_sft.jsonl") if "<tool_call>" in row["conversations"][2]["content"]
    ]
    assert len(called) > LEAST / 3


def test_raw_calls_are_the_calls_of_the_tools(folder):
    for name in ("xlam_raw.jsonl", "glaive_raw.jsonl"):
        for found in Source([folder / name], "chat").found():
            assert isinstance(found.record, Dialogue) and found.record.tools and not found.record.inferred
            (call,) = tools.calls(found.record.messages)
            offered = [tool["function"]["name"] for tool in found.record.tools]
            assert call["function"]["name"] in offered
            assert tools.run(call["function"]["name"], call["function"]["arguments"])


def test_what_an_agent_must_come_to_is_what_the_tool_returns(folder):
    for row in lines(folder, "agent_rl.jsonl"):
        assert row["gt"] and row["conversations"][-1]["content"] == "空"
        assert "<tools>" in row["conversations"][0]["content"]


def test_the_second_table_is_another_encoding(folder):
    data = (folder / "classification_gb18030.csv").read_bytes()
    with pytest.raises(UnicodeDecodeError):
        data.decode("utf-8")
    assert len(list(csv.DictReader(io.StringIO(data.decode("gb18030"))))) >= LEAST


def test_half_of_the_tokenised_rows_learn_only_the_answer(folder):
    read_only = [
        each.record.read
        for each in Source([folder / "tokenised.jsonl"], "pretrain").found()
        if isinstance(each.record, Tokens)
    ]
    assert LEAST / 2 <= sum(map(bool, read_only)) < len(read_only)


def test_the_mixture_names_files_that_are_there(folder, monkeypatch):
    monkeypatch.chdir(folder.parent.parent)
    recipe = read("data/schemas/multisource.yaml")
    assert recipe.weights(0) == [0.7, 0.3]
    for part in recipe.sources:
        assert len(list(Source(part.paths, "pretrain").found())) >= LEAST


def pixels(png: bytes) -> list[list[tuple[int, ...]]]:
    """Return a PNG's pixels, every check sum tried."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    parts, at = {}, 8
    while at < len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        kind, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert zlib.crc32(kind + data) == int.from_bytes(png[at + 8 + length : at + 12 + length], "big")
        parts[kind], at = data, at + 12 + length
    width, height = (int.from_bytes(parts[b"IHDR"][place : place + 4], "big") for place in (0, 4))
    assert parts[b"IHDR"][8:] == bytes([8, 2, 0, 0, 0]) and (width, height) == (SIDE, SIDE)
    rows = zlib.decompress(parts[b"IDAT"])
    stride = 1 + 3 * width
    assert len(rows) == stride * height and not any(rows[::stride])
    return [[tuple(rows[y * stride + 1 + 3 * x :][:3]) for x in range(width)] for y in range(height)]


def test_pictures_show_what_their_captions_say(folder):
    names = {name: colour for (name, _), colour in COLOURS.items()} | {
        name: colour for (_, name), colour in COLOURS.items()
    }
    seen = set()
    for row in lines(folder, "clip_pairs.jsonl"):
        shown = pixels((folder / row["file_path"]).read_bytes())
        square, ground = re.fullmatch(r"a (\w+) square on a (\w+) ground", row["prompt"]).groups()
        behind, before = re.fullmatch(r"(\w\w)背景上的(\w\w)方块", row["zh_prompt"]).groups()
        assert shown[4][4] == names[square] == names[before]
        assert shown[0][0] == shown[7][7] == names[ground] == names[behind] != shown[4][4]
        seen.add((square, ground))
    assert len(seen) == len(lines(folder, "clip_pairs.jsonl"))


def test_the_table_of_pictures_holds_those_that_texts_name(folder):
    table = dict(line.split("\t") for line in (folder / "chinese_clip_imgs.tsv").read_text().splitlines())
    captions = {
        (folder / row["file_path"]).read_bytes(): {row["prompt"], row["zh_prompt"]}
        for row in lines(folder, "clip_pairs.jsonl")
    }
    for row in lines(folder, "chinese_clip_texts.jsonl"):
        (image,) = row["image_ids"]
        assert row["text"] in captions[base64.b64decode(table[str(image)])]
    right = {row["text_id"]: row["image_ids"][0] for row in lines(folder, "chinese_clip_texts.jsonl")}
    for row in lines(folder, "retrieval_eval.jsonl"):
        assert row["image_ids"][0] == right[row["text_id"]]
        assert len({*row["image_ids"]} & {int(id) for id in table}) == len(row["image_ids"]) == 3


def test_questions_about_pictures_are_answered_by_what_they_show(folder):
    for found in Source([folder / "llava.json"], "picture").found():
        assert isinstance(found.record, PictureDialogue)
        shown = pixels((folder / found.record.image).read_bytes())
        answer = found.record.messages[1]["content"].rstrip(".。").lower()
        assert [colour for names, colour in COLOURS.items() if answer in names] == [shown[4][4]]


def test_the_same_dice_give_the_same_bytes():
    one, other = (list(schemas.rows(random.Random(5))) for _ in range(2))
    assert one == other


def test_a_prompt_row_keeps_what_it_must_come_to():
    for name, content in schemas.rows(random.Random(1)):
        if name.endswith("agent_rl.jsonl"):
            assert all(recognise(row, "prompt")[1].answer == row["gt"] for row in content)
