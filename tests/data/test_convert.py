"""Conversion: what is written is read back as the same record, all of it or nothing."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.data.canonical import flat, flat_row_of, row_of
from danlu.data.records import Dialogue, Preference, Prompt, recognise
from danlu.data.rows import BadRow
from danlu.data.sources import Source
from danlu.data_convert import command
from danlu.tokenizer.chat import encode_chat, render
from danlu.tokenizer.tokenizer import Tokenizer
from shape_examples import EXAMPLES, NAMED

STARTER = Tokenizer.load("starter")
TOOLS = [
    {
        "type": "function",
        "function": {"name": "tide", "description": '高潮 <|im_end|> "x"', "parameters": {}},
    },
    {"name": "moon"},
]
CALL = {"name": "tide", "arguments": {"port": "Brest", "日": [1, 2.5, None]}}
TALK = [
    {"role": "user", "content": "High water? <|im_end|>"},
    {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL, {"function": CALL}]},
    {"role": "tool", "content": "17:20"},
    {"role": "tool", "content": "18:05"},
    {"role": "assistant", "content": "At 17:20.", "reasoning_content": "two came", "loss_weight": 0.5},
    {"role": "user", "content": "Thanks"},
    {"role": "assistant", "content": "", "tool_calls": [CALL], "loss_mask": 0},
]
SYSTEM = {"role": "system", "content": "Be brief. 简短。"}


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write(path, rows):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def run(*args):
    """Run the command; a mistake of the user's comes back as the error it is."""
    done = CliRunner().invoke(command, [str(arg) for arg in args], standalone_mode=False)
    if done.exception:
        raise done.exception
    return done.stderr


@pytest.mark.parametrize(("name", "purpose", "row", "record"), NAMED)
def test_a_record_written_as_a_row_of_ours_is_the_same_record(name, purpose, row, record):
    written = json.loads(json.dumps(row_of(record)))
    assert recognise(written, purpose)[1] == record
    assert row_of(recognise(written, purpose)[1]) == written, "it is written the same again"


def test_tools_of_one_side_of_a_preference_stay_on_its_side():
    talk = [SYSTEM, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    record = Preference(Dialogue(talk, TOOLS), Dialogue(talk))
    assert recognise(row_of(record), "preference")[1] == record


@pytest.mark.parametrize("system", [[], [SYSTEM]], ids=["no system", "system"])
@pytest.mark.parametrize("tools", [None, TOOLS[:1], TOOLS], ids=["no tools", "a tool", "two tools"])
@pytest.mark.parametrize("talk", [TALK, TALK[:2], TALK[:3], TALK[5:]], ids=range(4))
def test_a_flat_row_is_the_very_same_tokens_and_weights(system, tools, talk):
    rows = flat(Dialogue(system + talk, tools), STARTER)
    assert all(isinstance(row["content"], str) for row in rows)
    assert {key for row in rows for key in row} <= {"role", "content", "loss_mask", "loss_weight"}
    whole, plain = encode_chat(STARTER, system + talk, tools), encode_chat(STARTER, rows)
    assert plain.ids == whole.ids and plain.weights == whole.weights and plain.text == whole.text
    if tools:
        written = render(STARTER, [*system, TALK[0]], tools)
        assert written.startswith(f"<|im_start|>system\n{rows[0]['content']}<|im_end|>\n<|im_start|>user")
    assert recognise({"conversations": rows}, "chat")[1] == Dialogue(rows)


words = st.lists(
    st.sampled_from(["<|im_end|>", "\n", "a", "你", " ", "<tool_call>", "</tools>", "{", '"'])
).map("".join)
said = words.filter(str.strip)
arguments = st.dictionaries(
    words, words | st.integers() | st.none() | st.lists(words, max_size=2), max_size=2
)
made = st.lists(
    st.builds(lambda name, given: {"name": name, "arguments": given}, said, arguments), max_size=2
)
answer = st.builds(
    lambda content, calls, thoughts: {
        "role": "assistant",
        "content": content,
        **({"tool_calls": calls} if calls else {}),
        **({"reasoning_content": thoughts} if thoughts else {}),
    },
    said,
    made,
    words,
)
schemas = st.lists(
    st.builds(lambda name, more: {"name": name, "parameters": more}, said, arguments), max_size=2
)


@given(st.none() | words, st.lists(st.tuples(said, answer), min_size=1, max_size=3), schemas)
@settings(max_examples=150, deadline=None)
def test_whatever_a_chat_says_its_flat_row_is_the_very_same_tokens(system, talk, tools):
    messages = [] if system is None else [{"role": "system", "content": system}]
    for question, reply in talk:
        messages += [{"role": "user", "content": question}, reply, {"role": "tool", "content": question}]
    rows = flat(Dialogue(messages, tools or None), STARTER)
    assert encode_chat(STARTER, rows).ids == encode_chat(STARTER, messages, tools or None).ids


def test_prompts_and_preferences_are_written_flat_too():
    talk = [{"role": "user", "content": "q"}]
    prompt = flat_row_of(Prompt(talk, TOOLS, "42"), STARTER)
    asked = encode_chat(STARTER, prompt["conversations"], add_generation_prompt=True)
    assert asked.ids == encode_chat(STARTER, talk, TOOLS, add_generation_prompt=True).ids
    assert prompt["gt"] == "42"
    pair = flat_row_of(Preference(Dialogue(TALK, TOOLS), Dialogue(TALK[:2], TOOLS)), STARTER)
    assert encode_chat(STARTER, pair["rejected"]).ids == encode_chat(STARTER, TALK[:2], TOOLS).ids


TURNS = (
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + m.content }}MORE"
    "{{- '<|im_end|>\\n' }}{%- endfor %}"
)


@pytest.mark.parametrize(
    ("template", "error", "message"),
    [
        (
            "{%- if tools %}{{- '<|im_start|>tool\\n' + tools | tojson + '<|im_end|>\\n' }}{%- endif %}"
            + TURNS.replace("MORE", ""),
            UserError,
            "does not write tools into the system text",
        ),
        (
            TURNS.replace(
                "MORE", "{%- if tools and loop.first %}{{- '<|im_end|>\\n<|im_start|>tool\\nT' }}{%- endif %}"
            ),
            BadRow,
            "cannot be written flat",
        ),
    ],
    ids=["before all turns", "in a turn of its own"],
)
def test_a_template_that_writes_tools_elsewhere_is_refused(tmp_path, template, error, message):
    STARTER.save(tmp_path)
    next(tmp_path.glob("*.jinja")).write_text(template)
    with pytest.raises(error, match=message):
        flat(
            Dialogue([SYSTEM, *TALK[:1], TALK[3], {"role": "assistant", "content": "a"}], TOOLS),
            Tokenizer.load(str(tmp_path)),
        )


@pytest.fixture
def files(tmp_path):
    """One file for each shape of chat rows."""
    chats = [(name, row) for name, purpose, row, _ in EXAMPLES if purpose == "chat"]
    return [write(tmp_path / f"{i}.jsonl", [row] * 3) for i, (_, row) in enumerate(chats)]


def test_rows_of_many_shapes_become_rows_of_one(tmp_path, files):
    out = tmp_path / "made" / "out.jsonl"
    told = run(*files, "--for", "chat", "--out", out)
    assert [record for _, record in Source([out], "chat")] == [r for _, r in Source(files, "chat")]
    assert all(row.keys() <= {"messages", "tools"} for row in lines(out))
    assert f"{3 * len(files)} rows read, {3 * len(files)} written" in told
    assert "found: alpaca, 9 rows" in told and "3 chats have no tools written down" in told


def test_the_three_sources_of_tool_rows_are_written_flat(tmp_path, files):
    out = tmp_path / "out.jsonl"
    run(*files, "--for", "chat", "--flat-tools", "--out", out)
    for row, (_, record) in zip(lines(out), Source(files, "chat")):
        assert row.keys() == {"conversations"}
        flat_ids = encode_chat(STARTER, row["conversations"]).ids
        assert flat_ids == encode_chat(STARTER, record.messages, record.tools).ids


def size_of(row):
    """The oracle: ids as they are, a text between its begin and its end."""
    return len(row["input_ids"]) if "input_ids" in row else len(STARTER.encode(row["text"])) + 2


@pytest.mark.parametrize("limit", [1, 12, 20, 60, 1000])
def test_rows_longer_than_asked_are_left_out_and_counted(tmp_path, limit):
    chance = random.Random(0)
    rows = [{"text": "".join(chance.choices("ab 你", k=chance.randrange(1, 60)))} for _ in range(300)]
    rows = [{"text": f"x{row['text']}"} for row in rows]
    rows += [{"input_ids": list(range(2, n))} for n in range(4, 40)]
    file, out = write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    short = [row for row in rows if size_of(row) <= limit]
    if not short:
        with pytest.raises(UserError, match="no row is left to write: 336 of 336 rows are too long"):
            run(file, "--max-tokens", limit, "--out", out)
        assert not out.exists()
        return
    told = run(file, "--max-tokens", limit, "--out", out)
    assert lines(out) == short
    left = len(rows) - len(short)
    assert (f"{left} rows are longer than {limit:,} tokens and left out" in told) == bool(left)


def test_a_chat_is_measured_with_its_tools_and_a_preference_by_its_longer_side(tmp_path):
    short = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    rows = [{"messages": TALK, "tools": TOOLS}, {"messages": short}, {"chosen": short, "rejected": TALK}]
    rows[2]["rejected"] = [*short[:1], {"role": "assistant", "content": "long " * 50}]
    size = len(encode_chat(STARTER, TALK, TOOLS).ids)
    out = tmp_path / "out.jsonl"
    for limit, kept in ((size, 3), (size - 1, 2), (len(encode_chat(STARTER, short).ids), 1)):
        run(write(tmp_path / "in.jsonl", rows), "--max-tokens", limit, "--out", out, "--force")
        assert len(lines(out)) == kept


def test_no_more_rows_than_asked_are_converted(tmp_path):
    rows = [{"text": str(i)} for i in range(700)]
    out = tmp_path / "out.jsonl"
    run(write(tmp_path / "in.jsonl", rows), "--max-rows", 300, "--out", out)
    assert lines(out) == rows[:300]


def mixed(tmp_path, count, ordinary, ratio, seed=42):
    rows = write(tmp_path / "in.jsonl", [{"text": f"t{i}"} for i in range(count)])
    others = write(tmp_path / "mix.jsonl", [{"text": f"o{i}"} for i in range(ordinary)])
    out = tmp_path / "out.jsonl"
    told = run(rows, "--mix", others, "--mix-ratio", ratio, "--seed", seed, "--out", out, "--force")
    return [row["text"] for row in lines(out)], told


@pytest.mark.parametrize("ratio", [0, 0.1, 0.29, 0.5, 1, 2.5])
def test_ordinary_rows_are_mixed_in_at_a_ratio(tmp_path, ratio):
    texts, told = mixed(tmp_path, 100, 400, ratio)
    assert [text for text in texts if text[0] == "t"] == [f"t{i}" for i in range(100)]
    others = [text for text in texts if text[0] == "o"]
    assert len(others) == len(set(others)) == round(100 * ratio)
    for place in range(1, len(texts)):
        so_far = sum(text[0] == "t" for text in texts[:place])
        assert place - so_far <= ratio * so_far, "never more than the ratio, at any place"
    assert "were asked for" not in told


def test_the_seed_decides_which_ordinary_rows_come_when(tmp_path):
    once, again, other = (mixed(tmp_path, 50, 9000, 1, seed)[0] for seed in (1, 1, 2))
    assert once == again != other


def test_ordinary_rows_that_run_out_are_said_and_none_comes_twice(tmp_path):
    texts, told = mixed(tmp_path, 100, 30, 0.5)
    assert sorted(text for text in texts if text[0] == "o") == sorted(f"o{i}" for i in range(30))
    assert "30 ordinary rows mixed in; 50 were asked for, there are no more" in told


BAD = [{"text": "a"}, {"text": ""}, {"text": "b"}, {"txt": "c"}, {"text": 3}, {"text": None}]


def test_a_bad_row_is_refused_by_file_and_line_and_an_older_file_stays(tmp_path):
    file, out = write(tmp_path / "in.jsonl", BAD), tmp_path / "out.jsonl"
    for before in (None, "older"):
        if before:
            out.write_text(before)
        with pytest.raises(UserError, match=rf"{file}:2: text: is empty"):
            run(file, "--for", "pretrain", "--out", out, "--force")
        assert (out.read_text() if before else out.exists()) == (before or False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"], (
        "nothing half-written"
    )


def test_bad_rows_are_left_out_counted_and_the_first_are_named(tmp_path):
    file, out = write(tmp_path / "in.jsonl", BAD), tmp_path / "out.jsonl"
    told = run(file, "--for", "pretrain", "--on-bad-row", "skip", "--out", out)
    assert lines(out) == [{"text": "a"}, {"text": "b"}]
    assert "6 rows read, 2 written" in told and "4 bad rows left out, the first:" in told
    assert f"{file}:2: text: is empty" in told and f"{file}:5: text: found a number" in told
    assert f"{file}:6" not in told


def test_a_file_that_is_read_is_never_replaced(tmp_path):
    file = write(tmp_path / "rows.jsonl", [{"content": "a"}, {"content": "b"}])
    other = write(tmp_path / "mix" / "more.jsonl", [{"content": "c"}])
    (tmp_path / "link.jsonl").symlink_to(file)
    before = file.read_bytes(), other.read_bytes()
    for out in (file, tmp_path / "link.jsonl", tmp_path / "mix" / ".." / "rows.jsonl", other):
        with pytest.raises(UserError, match="is one of the files that are read"):
            run(file, "--mix", other.parent, "--mix-ratio", 1, "--out", out, "--force")
    assert (file.read_bytes(), other.read_bytes()) == before


def test_any_other_file_is_replaced_only_if_so_wished(tmp_path):
    file, out = write(tmp_path / "rows.jsonl", [{"content": "a"}]), tmp_path / "out.jsonl"
    out.write_text("mine")
    with pytest.raises(UserError, match="out.jsonl is there already") as error:
        run(file, "--out", out)
    assert "--force" in error.value.hint and out.read_text() == "mine"
    run(file, "--out", out, "--force")
    assert lines(out) == [{"text": "a"}]


def test_a_file_without_a_row_is_said_to_be_that(tmp_path):
    (tmp_path / "in.txt").write_text("\n \n")
    with pytest.raises(UserError, match="in.txt: holds no row") as error:
        run(tmp_path / "in.txt", "--out", tmp_path / "out.jsonl")
    assert error.value.hint and not (tmp_path / "out.jsonl").exists()


def test_a_text_may_be_a_paragraph(tmp_path):
    (tmp_path / "in.txt").write_text("one\ntwo\n\nthree\n")
    run(tmp_path / "in.txt", "--text-by", "paragraph", "--out", tmp_path / "out.jsonl")
    assert lines(tmp_path / "out.jsonl") == [{"text": "one\ntwo"}, {"text": "three"}]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--out", "out.json"], "rows are written as JSON lines"),
        (["--out", "folder.jsonl"], "is a folder"),
        (["--out", "in.jsonl/out.jsonl"], "is not a folder"),
        (["--out", "out.jsonl", "--mix", "in.jsonl"], "--mix is given without --mix-ratio"),
        (["--out", "out.jsonl", "--mix-ratio", "0.5"], "--mix-ratio is given without --mix"),
        (["--out", "out.jsonl", "--fields", "text"], "--fields text: is not OURS=THEIRS"),
        (["--out", "out.jsonl", "--fields", "=x"], "--fields =x: is not OURS=THEIRS"),
        (["--out", "out.jsonl", "--for", "chat"], "in.jsonl:1: text: this is for pretrain, not for chat"),
        (
            ["--out", "out.jsonl", "--for", "chat", "--on-bad-row", "skip"],
            "no row is left to write: in.jsonl:1",
        ),
        (["--out", "out.jsonl", "--tokenizer", "nowhere", "--flat-tools"], "nowhere"),
    ],
)
def test_what_is_asked_wrongly_is_refused_and_nothing_is_written(tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "in.jsonl", [{"text": "a"}])
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(UserError, match=message) as error:
        run("in.jsonl", *args)
    assert error.value.hint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.jsonl", "in.jsonl"]


def test_a_mistake_ends_with_two_and_two_lines(tmp_path):
    write(tmp_path / "in.jsonl", [{"text": ""}])
    args = ["data", "convert", "in.jsonl", "--out", "out.jsonl"]
    done = subprocess.run(
        [sys.executable, "-m", "danlu", *args], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 2 and "in.jsonl:1" in done.stderr
