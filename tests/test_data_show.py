"""`danlu data show`: what is shown as learned is what a training batch holds as labels."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu import cli
from danlu.data.batch import IGNORE
from danlu.data.encode import Options
from danlu.data.lint.measure import ENDLESS
from danlu.data.lint.painting import MARKS, marked, painted, visible
from danlu.data.lint.view import runs, views
from danlu.data.records import Dialogue, Label, Preference, Prompt, Text
from danlu.data.sources import Source
from danlu.data.stream import open_stream
from danlu.tokenizer.tokenizer import Tokenizer

ASK = {"role": "user", "content": "你好，<|im_end|> 龘🦄?"}
SAY = {"role": "assistant", "content": "好的，yes. 🦄"}
TAGGED = {"role": "assistant", "content": "<think>a</think><answer>b</answer>"}
CHATS = [
    [ASK, SAY],
    [
        {"role": "system", "content": "be kind"},
        ASK,
        SAY,
        ASK,
        SAY | {"loss_mask": 0},
        ASK,
        SAY | {"content": "龘"},
    ],
    [ASK, SAY | {"content": "long " * 40}],
    [ASK | {"content": "long " * 60}, SAY],
    [
        ASK,
        {"role": "assistant", "content": "<think>a</think><answer>b</answer>", "loss_weight": 0.5},
        ASK,
        SAY,
    ],
]
TEXTS = ["今天天气很好，我们去公园吧。", "Hello, 龘🦄 world. " * 12, "x"]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.load()


@pytest.fixture
def show(capsys):
    def call(*words):
        cli.main(["data", "show", *map(str, words)])
        return capsys.readouterr().out

    return call


def write(path, *rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def batch_labels(path, kind, tokenizer, seq_len, tag_weight):
    """What a stream trains on: for each row, the label ids that count, in order, with their weights."""
    stream = open_stream(
        [path],
        kind,
        tokenizer,
        seq_len=seq_len,
        batch_tokens=seq_len,
        micro_batch=1,
        packing=False,
        epochs=1,
        shuffle=False,
        tag_weight=tag_weight,
        prefetch=0,
    )
    found = {}
    for [batch] in stream:
        [row] = batch.rows
        kept = batch.labels_BT != IGNORE
        weights = batch.weights_BT[kept] if batch.weights_BT is not None else np.ones(int(kept.sum()))
        found.setdefault(row, []).extend(zip(batch.labels_BT[kept].tolist(), np.asarray(weights).tolist()))
    return found


@pytest.mark.parametrize("kind", ["pretrain", "chat"])
@pytest.mark.parametrize("seq_len", [16, 48, 512])
@pytest.mark.parametrize("tag_weight", [1.0, 10.0])
def test_what_is_shown_as_learned_is_what_a_batch_learns(
    kind, seq_len, tag_weight, tokenizer, tmp_path, monkeypatch
):
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path / "cache"))
    rows = (
        [{"text": text} for text in TEXTS] if kind == "pretrain" else [{"messages": chat} for chat in CHATS]
    )
    path = write(tmp_path / "rows.jsonl", *rows)
    trained = batch_labels(path, kind, tokenizer, seq_len, tag_weight)
    for row, record in Source([path], kind):
        [view] = views(record, tokenizer, Options(seq_len, tag_weight))
        learned = np.flatnonzero(view.weights)
        shown = list(zip(view.ids[learned].tolist(), view.weights[learned].tolist()))
        assert shown == trained[row]


def test_a_chat_that_teaches_nothing_is_shown_as_only_read(tokenizer):
    [view] = views(Dialogue([ASK, SAY | {"loss_mask": 0}]), tokenizer, Options(64))
    assert not view.weights.any() and view.read.all() and len(view.ids) > 10


def test_both_answers_of_a_preference_are_shown(tokenizer):
    record = Preference(Dialogue([ASK, SAY]), Dialogue([ASK, SAY | {"content": "no"}]))
    chosen, rejected = views(record, tokenizer, Options(ENDLESS))
    assert (chosen.title, rejected.title) == ("chosen", "rejected")
    assert "⟦好的，yes. 🦄‹<|im_end|>›⟧" in marked(chosen, tokenizer)
    assert "⟦no‹<|im_end|>›⟧" in marked(rejected, tokenizer)


def test_a_prompt_ends_with_the_invitation_and_teaches_nothing(tokenizer):
    [view] = views(Prompt([ASK], None, "42"), tokenizer, Options(ENDLESS))
    assert marked(view, tokenizer).endswith("‹<|im_start|>›assistant↵\n")
    assert not view.weights.any() and "42" in view.title


def test_a_label_stands_beside_its_text(tokenizer):
    [view] = views(Label("good film", "positive"), tokenizer, Options(ENDLESS))
    assert marked(view, tokenizer) == "good film" and "positive" in view.title


@given(text=st.text(min_size=1, max_size=30).filter(str.strip), seq_len=st.integers(1, 12))
@settings(deadline=None)
def test_every_token_is_shown_once_and_says_the_text(text, seq_len):
    tokenizer = Tokenizer.load()
    [view] = views(Text(text), tokenizer, Options(seq_len))
    pieces = list(runs(view, tokenizer))
    assert [n for run in pieces for n in range(run.first, run.last)] == list(range(len(view.ids)))
    assert "".join(run.text for run in pieces if not run.control) == text


@given(st.text(st.sampled_from(MARKS + "ab\n\x00\u200b\u202e"), max_size=20))
def test_no_text_can_pass_for_a_mark(text):
    shown = visible(text)
    assert not set(shown) & set(MARKS)
    back = re.sub(r"<U\+([0-9A-F]+)>", lambda code: chr(int(code[1], 16)), shown.replace("↵\n", "\n"))
    assert back == text


def test_colours_say_what_marks_say(tokenizer):
    [view] = views(Dialogue(CHATS[4]), tokenizer, Options(ENDLESS, 10.0))
    text = painted(view, tokenizer)
    green = "".join(text.plain[s.start : s.end] for s in text.spans if "dark_green" in str(s.style))
    gold = "".join(text.plain[s.start : s.end] for s in text.spans if "dark_goldenrod" in str(s.style))
    marks = marked(view, tokenizer)
    plain = "".join(re.findall(r"⟦(?!×)([^⟧]*)⟧", marks)).translate(str.maketrans("", "", "‹›"))
    other = "".join(re.findall(r"⟦×[\d.]+:([^⟧]*)⟧", marks)).translate(str.maketrans("", "", "‹›"))
    assert green == plain and gold == other and "<think>" in gold and plain


def test_rows_are_shown_with_place_shape_and_sizes(show, tmp_path):
    path = write(tmp_path / "a.jsonl", *({"messages": chat} for chat in CHATS))
    out = show(path)
    assert [f"{path}:{line}" in out for line in range(1, 6)] == [True, True, True, False, False]
    first = next(line for line in out.splitlines() if line.startswith(f"{path}:1"))
    assert re.search(r"sft messages  \d+ tokens, \d+ learned.* characters per token", first)
    assert "⟦好的，yes. 🦄‹<|im_end|>›⟧" in out
    assert "你好，<|im_end|> 龘🦄?‹<|im_end|>›" in out, "typed text and control tokens look alike"


def test_cut_rows_say_what_is_not_read(show, tmp_path):
    path = write(tmp_path / "a.jsonl", {"messages": CHATS[2]}, {"text": TEXTS[1]})
    out = show(path, "--seq-len", 32)
    assert re.search(r"⟦(long )+⟧⟪(long )+", out.replace("⟧⟪ long", "⟧⟪long").replace("long⟧", "long ⟧"))
    assert "✂" in out.split(f"{path}:2")[1]


def test_one_row_by_its_line(show, tmp_path):
    path = write(tmp_path / "a.jsonl", *({"text": f"row {n}"} for n in range(1, 9)))
    assert "row 5" in (out := show(path, "--row", 5)) and "row 6" not in out
    assert "row 6" in show(path, "--row", 5, "-n", 2)


def test_random_rows_follow_the_seed(show, tmp_path):
    path = write(tmp_path / "a.jsonl", *({"text": f"row {n}"} for n in range(1, 60)))
    lines = {seed: tuple(re.findall(r"a\.jsonl:(\d+) ", show(path, "--random", seed))) for seed in range(20)}
    assert lines[3] == tuple(re.findall(r"a\.jsonl:(\d+) ", show(path, "--random", 3)))
    assert all(len(found) == 3 and [*map(int, found)] == sorted(map(int, found)) for found in lines.values())
    assert len(set(lines.values())) > 15


def test_tokens_are_parted_and_their_ids_listed(show, tokenizer, tmp_path):
    path = write(tmp_path / "a.jsonl", {"text": "龘 ok"})
    out = show(path, "--tokens")
    ids = [*tokenizer.beginning(), *tokenizer.encode("龘 ok"), tokenizer.eos_id]
    listing = out.strip().splitlines()[-1]
    assert [int(n) for entry in listing.split(" | ") for n in entry.split()[0].split("+")] == ids
    assert "·" in out.splitlines()[-2]


def test_a_stage_decides_what_tags_weigh(show, tmp_path):
    path = write(tmp_path / "a.jsonl", {"messages": [ASK, TAGGED]})
    assert "×" not in show(path).split("\n", 1)[1]
    assert "⟦×10:<think>⟧" in show(path, "--stage", "reason")


def test_a_bad_row_is_shown_with_what_is_wrong(show, tmp_path):
    path = write(tmp_path / "a.jsonl", {"text": ""}, {"text": "fine"})
    out = show(path)
    assert f"{path}:1: text: is empty" in out and "⟦fine" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["absent.jsonl"], "no such file"),
        (["BLANK"], "holds no row"),
        (["IDS"], "ids.jsonl:2: input_ids[1] is 9999999"),
        (["FILE", "--row", "9"], "there is no row"),
        (["FILE", "--row", "1", "--random", "1"], "does not go with"),
        (["FILE", "--for", "chit"], "there is no purpose"),
        (["FILE", "--stage", "dpo"], "there is no stage"),
        (["FILE", "--tokenizer", "nowhere"], "no such folder"),
    ],
)
def test_a_wrong_call_is_two_lines_and_exit_2(words, said, tmp_path, capsys):
    path = write(tmp_path / "a.jsonl", {"text": "fine"})
    (tmp_path / "blank.jsonl").write_text("\n \n")
    files = {
        "FILE": path,
        "BLANK": tmp_path / "blank.jsonl",
        "IDS": write(tmp_path / "ids.jsonl", {"text": "fine"}, {"input_ids": [1, 9999999]}),
    }
    with pytest.raises(SystemExit) as left:
        cli.main(["data", "show", *(str(files.get(word, word)) for word in words)])
    err = capsys.readouterr().err
    assert left.value.code == 2 and said in err and len(err.strip().splitlines()) == 2
