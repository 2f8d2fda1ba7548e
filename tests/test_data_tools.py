"""danlu data tools: every source comes out as the same dialogues, checked call by call."""

from __future__ import annotations

import json
import random

import pytest
from click.testing import CliRunner

from danlu.base.errors import UserError
from danlu.data.sources import Source
from danlu.data_tools import command
from danlu.starter import schemas
from danlu.tokenizer.chat import encode_chat, render
from danlu.tokenizer.tokenizer import Tokenizer

STARTER = Tokenizer.load("starter")
SCHEMAS = dict(schemas.rows(random.Random(1)))
TIDE = {
    "name": "tide",
    "parameters": {
        "type": "object",
        "properties": {"port": {"type": "string"}, "day": {"type": "integer"}},
        "required": ["port"],
    },
}
HERMES = (
    "You are a function calling AI model. You are provided with function signatures within <tools></tools> "
    "XML tags.\n<tools> {} </tools>\nFor each function call return a json object within XML tags."
)


def written(folder, name, rows):
    path = folder / name
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def run(*words):
    done = CliRunner().invoke(command, [str(word) for word in words], standalone_mode=False)
    if done.exception:
        raise done.exception
    return done.stderr


def made(tmp_path, source, rows, *options, name="rows.jsonl"):
    """Return the rows that come out, and what was said."""
    path = rows if not isinstance(rows, list) else written(tmp_path, name, rows)
    said = run("--source", source, "--input", path, "--output", tmp_path / "out.jsonl", "--force", *options)
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines], said


def calls(row):
    return [call["function"] for message in row["messages"] for call in message.get("tool_calls", [])]


def asks(*turns, tools=(TIDE,)):
    """A glaive row; turns are pairs of who speaks and what."""
    row = {"conversations": [{"from": speaker, "value": value} for speaker, value in turns]}
    return row | ({"tools": json.dumps(list(tools))} if tools else {})


def called(arguments, name="tide", tools=(TIDE,)):
    call = json.dumps({"name": name, "arguments": arguments})
    return asks(
        ("human", "High water?"),
        ("function_call", call),
        ("observation", "17:20"),
        ("gpt", "At 17:20."),
        tools=tools,
    )


def hermes(row, printed):
    """A row of ours as Hermes writes it: in JSON, or as Python prints it."""
    write = str if printed else lambda value: json.dumps(value, ensure_ascii=False)
    turns = [{"from": "system", "value": HERMES.format(write(row["tools"]))}]
    for message in row["messages"]:
        blocks = [
            "<tool_call>\n"
            + write({"arguments": call["function"]["arguments"], "name": call["function"]["name"]})
            + "\n</tool_call>"
            for call in message.get("tool_calls", [])
        ]
        value = "\n".join([*filter(None, [message["content"]]), *blocks])
        if message["role"] == "tool":
            value = f"<tool_response>\n{value}\n</tool_response>"
        turns.append(
            {
                "from": {"user": "human", "assistant": "gpt"}.get(message["role"], message["role"]),
                "value": value,
            }
        )
    return {"id": "x", "conversations": turns, "category": "c"}


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """Two dozen dialogues out of the starter's glaive rows."""
    folder = tmp_path_factory.mktemp("tools")
    rows, said = made(folder, "glaive", SCHEMAS["schemas/glaive_raw.jsonl"])
    assert len(rows) >= 20 and "24 rows read, 24 written" in said
    return rows


@pytest.mark.parametrize("printed", [False, True], ids=["as JSON", "as Python prints"])
def test_rows_of_hermes_are_the_dialogues_they_were_written_from(ours, tmp_path, printed):
    rows, said = made(tmp_path, "hermes", [hermes(row, printed) for row in ours])
    assert rows == ours
    assert f"{len(ours)} rows read, {len(ours)} written" in said


def test_rows_of_xlam_keep_question_tools_and_calls(tmp_path):
    given = SCHEMAS["schemas/xlam_raw.jsonl"]
    rows, _ = made(tmp_path, "xlam", given)
    assert len(rows) == len(given) >= 20
    for row, raw in zip(rows, given):
        assert row["messages"][0] == {"role": "user", "content": raw["query"]}
        assert calls(row) == json.loads(raw["answers"])
        assert [tool["function"]["name"] for tool in row["tools"]] == [
            t["name"] for t in json.loads(raw["tools"])
        ]


def test_rows_of_the_starter_set_stay_what_they_are(ours, tmp_path):
    rows, _ = made(tmp_path, "starter", ours)
    assert rows == ours


def test_what_comes_out_is_what_training_reads(ours, tmp_path):
    path = written(tmp_path, "ours.jsonl", ours)
    records = [record for _, record in Source([path], "chat")]
    assert [{"messages": each.messages, "tools": each.tools} for each in records] == ours


def test_flat_rows_say_the_tools_as_the_template_does_byte_by_byte(ours, tmp_path):
    rows, _ = made(tmp_path, "starter", ours, "--flat")
    for row, whole in zip(rows, ours):
        assert not {"tools", "tool_calls"} & (
            row.keys() | {key for each in row["conversations"] for key in each}
        )
        assert render(STARTER, row["conversations"]) == render(STARTER, whole["messages"], whole["tools"])
        one, other = (
            encode_chat(STARTER, row["conversations"]),
            encode_chat(STARTER, whole["messages"], whole["tools"]),
        )
        assert (one.ids, one.mask) == (other.ids, other.mask)


def test_rows_longer_than_they_may_be_are_left_out_by_their_tokens(ours, tmp_path):
    sizes = [len(encode_chat(STARTER, row["messages"], row["tools"]).ids) for row in ours]
    limit = sorted(sizes)[len(sizes) // 2]
    rows, said = made(tmp_path, "starter", ours, "--max-length", limit)
    assert rows == [row for row, size in zip(ours, sizes) if size <= limit]
    assert f"{len(ours) - len(rows)} rows are longer than {limit} tokens" in said


def test_calls_that_would_teach_something_wrong_are_left_out_counted_and_named(tmp_path):
    good = called({"port": "Brest", "day": 3})
    bad = {
        "call a tool that is not offered": called({"port": "Brest"}, name="moon"),
        "have arguments that do not fit their tool": called({"port": "Brest", "day": "soon"}),
        "have calls that cannot be read": asks(("human", "?"), ("gpt", "<tool_call>\n{oops}\n</tool_call>")),
    }
    missing, unknown = called({}), called({"port": "Brest", "height": 3})
    rows, said = made(tmp_path, "glaive", [good, *bad.values(), missing, unknown])
    assert [calls(row)[0]["arguments"] for row in rows] == [{"port": "Brest", "day": 3}]
    assert "6 rows read, 1 written" in said
    assert "1 rows call a tool that is not offered" in said
    assert "3 rows have arguments that do not fit their tool" in said
    for line, words in enumerate(
        ("'moon'; offered: tide", "'day' is text", "{oops}", "'port' is missing", "'height'"), 2
    ):
        assert any(f"rows.jsonl:{line}:" in told and words in told for told in said.splitlines())


def test_tools_that_are_none_and_tools_in_unknown_words_are_said(tmp_path):
    def row(tool):
        made = [{"name": "tide", "arguments": {"port": "Delfa"}}]
        return {"query": "Tide?", "tools": json.dumps([tool]), "answers": json.dumps(made)}

    broken = [{"name": ["tide"]}, {"name": "tide", "parameters": [1]}, {"function": 5}]
    broken.append({"name": "tide", "parameters": {"type": "object", "properties": 5}})
    rows, said = made(tmp_path, "xlam", [row(TIDE), *map(row, broken)])
    assert len(rows) == 1
    assert "4 rows offer a tool without a name or a schema, and are left out" in said
    told = [
        {"from": "system", "value": f"Call what you like: <tools>{json.dumps(TIDE)}</tools>"},
        {"from": "human", "value": "Tide?"},
        {"from": "gpt", "value": '<tool_call>{"name": "tide", "arguments": {}}</tool_call>'},
    ]
    with pytest.raises(UserError, match="the system text has <tools> in words that are not known"):
        made(tmp_path, "hermes", [{"conversations": told}])


@pytest.mark.parametrize("option", [(), ("--flat",), ("--max-length", "500")])
def test_half_a_character_in_a_call_is_one_row_left_out(option, tmp_path):
    half = called({"port": "\ud800"})
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (called({"port": "Brest"}), half)))
    rows, said = made(tmp_path, "glaive", path, *option)
    assert len(rows) == 1 and "rows.jsonl:2:" in said and "half a character" in said


def test_rows_that_cannot_be_read_are_named_by_file_and_line_and_why(tmp_path):
    path = written(
        tmp_path,
        "rows.jsonl",
        [called({"port": "Brest"}), {"conversations": [{"from": "alien", "value": "?"}]}],
    )
    path.write_text(path.read_text(encoding="utf-8") + "{broken\n", encoding="utf-8")
    rows, said = made(tmp_path, "glaive", path)
    assert len(rows) == 1
    assert "2 bad rows left out" in said
    assert "rows.jsonl:2:" in said and "alien" in said
    assert "rows.jsonl:3:" in said


def test_tools_nobody_named_are_told_from_the_calls_and_that_is_said(tmp_path):
    rows, said = made(tmp_path, "glaive", [called({"port": "Brest", "day": 3}, tools=())])
    assert rows[0]["tools"][0]["function"]["parameters"]["properties"] == {
        "port": {"type": "string"},
        "day": {"type": "integer"},
    }
    assert "1 chats have no tools written down" in said


def test_rows_of_another_source_are_told_apart(tmp_path):
    with pytest.raises(UserError, match="has the shape 'glaive raw'"):
        made(tmp_path, "xlam", [called({"port": "Brest"})])


def test_a_language_may_be_asked_for(ours, tmp_path):
    chinese, said = made(tmp_path, "starter", ours, "--lang", "zh")
    english, _ = made(tmp_path, "starter", ours, "--lang", "en")
    assert len(chinese) + len(english) == len(ours) and chinese and english
    assert f"{len(english)} rows are in another language" in said


def test_ordinary_chats_are_mixed_in_by_the_seed_and_rows_are_no_more_than_wanted(ours, tmp_path):
    plain = [
        {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": f"{n}!"}]}
        for n in range(30)
    ]
    mix = ("--mix", written(tmp_path, "plain.jsonl", plain), "--mix-ratio", "0.5", "--max-samples", 10)
    rows, said = made(tmp_path, "starter", ours, *mix)
    assert [row for row in rows if "tools" in row] == ours[:10]
    assert sum("tools" not in row for row in rows) == 5 and "5 ordinary rows mixed in" in said
    assert made(tmp_path, "starter", ours, *mix)[0] == rows
    assert made(tmp_path, "starter", ours, *mix, "--seed", "1")[0] != rows


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--input", "a.jsonl", "--hub", "default"], "both --input and --hub are given"),
        ([], "neither --input nor --hub"),
        (["--hub", "default"], "starter is on no hub"),
        (["--input", "nothing.jsonl"], "nothing.jsonl"),
        (["--input", "a.jsonl", "--mix-ratio", "0.5"], "--mix-ratio is given without --mix"),
    ],
)
def test_a_wrong_call_is_said_in_two_lines(options, problem, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=problem) as error:
        run("--source", "starter", "--output", "out.jsonl", *options)
    assert error.value.hint


def test_nothing_is_written_over_or_left_half_written(ours, tmp_path):
    out = tmp_path / "out.jsonl"
    out.write_text("mine")
    path = written(tmp_path, "rows.jsonl", ours)
    with pytest.raises(UserError, match="is there already"):
        run("--source", "starter", "--input", path, "--output", out)
    with pytest.raises(UserError, match="no row is left"):
        run("--source", "xlam", "--input", path, "--output", tmp_path / "none.jsonl")
    assert out.read_text() == "mine" and not (tmp_path / "none.jsonl").exists()
