"""Rows are read with their place; each broken one is refused by file, line and field, with a remedy."""

from __future__ import annotations

import json
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.data.formats import Reading
from danlu.data.formats.jsonl import JsonLines
from danlu.data.records import Dialogue, Text
from danlu.data.rows import BadRow, row_id
from danlu.data.sources import Source

GOOD = '{"text": "good"}'
GOOD_CHAT = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}'
ASK = '{"role": "user", "content": "q"}'


def chat(*messages, **more):
    rest = "".join(f", {json.dumps(key)}: {value}" for key, value in more.items())
    return f'{{"conversations": [{", ".join(messages)}]{rest}}}'


def answer(**fields):
    return json.dumps({"role": "assistant", "content": "a", **fields})


BROKEN = [
    # purpose, line, what the message must hold after "file:2: "
    ("pretrain", "{", "not valid JSON at column 2"),
    ("pretrain", '{"text": "cut o', "not valid JSON at column 10: unterminated string"),
    ("pretrain", "[", "not valid JSON"),
    ("pretrain", '["a"]', "the row is a list, not an object"),
    ("pretrain", '"a"', "the row is a string, not an object"),
    ("pretrain", "null", "the row is null"),
    ("pretrain", "{}", "text: is missing; the row has no keys"),
    ("pretrain", '{"texts": "a"}', "text: is missing; the row has 'texts'"),
    ("pretrain", '{"text": null}', "text: found null"),
    ("pretrain", '{"text": 3}', "text: found a number"),
    ("pretrain", '{"text": ["a"]}', "text: found a list"),
    ("pretrain", '{"text": ""}', "text: is empty"),
    ("pretrain", '{"text": " \\n"}', "text: is empty"),
    ("pretrain", '{"text": "\\ud83d"}', r"holds half a character, \\ud83d"),
    ("pretrain", '{"text": "a", "x": NaN}', "NaN is no JSON number"),
    ("pretrain", '{"text": "a\x00"}', "not valid JSON"),
    ("pretrain", '{"text": "a", "x": ' + "[" * 100_000 + "]" * 100_000 + "}", "is nested too deeply"),
    ("pretrain", '{"text": "a", "x": ' + "1" * 5000 + "}", "not valid JSON"),
    ("pretrain", b'{"text": "\xff"}', "byte 11 .0xff. is not UTF-8"),
    ("pretrain", GOOD_CHAT, "messages: this is for chat, not for pretrain"),
    ("chat", GOOD, "text: this is for pretrain, not for chat"),
    ("chat", '{"conversations": [], "messages": []}', "the row has both 'conversations' and 'messages'"),
    ("chat", '{"conversation": []}', "conversations: is missing; the row has 'conversation'"),
    ("chat", '{"conversations": {}}', "conversations: found an empty object"),
    ("chat", '{"conversations": []}', "conversations: found an empty list"),
    ("chat", '{"conversations": "hi"}', "conversations: found a string"),
    ("chat", chat('"hi"'), r"conversations\[0\]: found a string"),
    ("chat", chat('{"content": "a"}'), r"conversations\[0\].role: found null"),
    ("chat", chat(ASK, '{"role": "bot", "content": "a"}'), r'conversations\[1\].role: found "bot"'),
    ("chat", chat(ASK, '{"role": "assistant"}'), r"conversations\[1\].content: found null"),
    ("chat", chat(ASK, '{"role": "assistant", "content": null}'), r"conversations\[1\].content: found null"),
    ("chat", chat(ASK, '{"role": "assistant", "content": ""}'), r"conversations\[1\].content: is empty"),
    ("chat", chat(ASK, '{"role": "assistant", "content": {"a": 1}}'), r"content: found an object"),
    ("chat", chat(ASK), "conversations: the assistant says nothing"),
    ("chat", chat(ASK, ASK, answer()), r"conversations\[1\].role: user twice in a row"),
    ("chat", chat(ASK, answer(), answer()), r"conversations\[2\].role: assistant twice in a row"),
    ("chat", chat(ASK, '{"role": "system", "content": "s"}', answer()), "a system message after user"),
    ("chat", chat(ASK, '{"role": "tool", "content": "s"}', answer()), "a tool's result after user"),
    ("chat", chat(ASK, answer(loss_mask=2)), r"conversations\[1\].loss_mask: found 2"),
    ("chat", chat(ASK, answer(loss_weight="x")), r'conversations\[1\].loss_weight: found "x"'),
    ("chat", chat(ASK, answer(loss_weight=-1)), r"conversations\[1\].loss_weight: found -1"),
    ("chat", chat('{"role": "user", "content": "q", "loss_mask": 1}', answer()), "on a message of user"),
    ("chat", chat(ASK, answer(reasoning_content=3)), "reasoning_content: found a number"),
    ("chat", chat(ASK, answer(tool_calls="{")), "tool_calls: holds text that is not JSON"),
    ("chat", chat(ASK, answer(tool_calls={})), "tool_calls: found an empty object"),
    ("chat", chat(ASK, answer(tool_calls=[{"name": 1}])), r"tool_calls\[0\]: found"),
    ("chat", chat(ASK, answer(tool_calls=[{"name": "f"}])), r"tool_calls\[0\].arguments: found null"),
    ("chat", chat(ASK, answer(), tools="3"), "tools: found a number"),
    ("chat", chat(ASK, answer(), tools='["f"]'), "tools: found a list"),
    ("chat", chat(ASK, answer(name="\ud800")), "holds half a character"),
]


@pytest.mark.parametrize(("purpose", "line", "message"), BROKEN, ids=range(len(BROKEN)))
def test_a_broken_row_is_named_and_the_good_ones_around_it_are_read(tmp_path, purpose, line, message):
    good = (GOOD if purpose == "pretrain" else GOOD_CHAT).encode()
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"\n".join([good, line if isinstance(line, bytes) else line.encode(), good]))
    source = Source([file], purpose)
    rows = iter(source)
    assert next(rows)[0] == 0
    with pytest.raises(UserError, match=message) as error:
        next(rows)
    assert error.value.problem.startswith(f"{file}:2: ")
    assert error.value.hint and len(str(error.value).splitlines()) == 2
    kinds = [type(found.record) for found in source.found()]
    assert kinds[1] is BadRow and {kinds[0], kinds[2]} <= {Text, Dialogue}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "no file in it can be read"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.symlink_to("nowhere"), "a link to a file that is not there"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, make, message):
    path = tmp_path / "x.jsonl"
    make(path)
    with pytest.raises(UserError, match=message):
        Source([path], "pretrain")


def test_an_unknown_format_or_purpose_names_the_known_ones(tmp_path):
    (tmp_path / "x.docx").write_bytes(b"text")
    with pytest.raises(UserError, match="'.docx' cannot be read") as error:
        Source([tmp_path / "x.docx"], "pretrain")
    assert ".jsonl" in error.value.hint
    with pytest.raises(UserError, match="no purpose of data 'chats'") as error:
        Source([], "chats")
    assert "chat" in error.value.hint


def test_blank_lines_and_byte_order_marks_are_passed_over(tmp_path):
    file = tmp_path / "x.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + f"{GOOD}\r\n\n  \n{GOOD}".encode())
    source = Source([file], "pretrain")
    assert list(source) == [(0, Text("good")), (3, Text("good"))]


def test_a_row_leads_back_to_its_file_and_line(tmp_path):
    files = [tmp_path / f"{name}.jsonl" for name in "abc"]
    for number, file in enumerate(files):
        file.write_text("".join(f'{{"text": "{number} {i}"}}\n' for i in range(100 * number + 1)))
    source = Source(files, "pretrain")
    assert len(dict(source)) == 1 + 101 + 201
    for row, record in source:
        file, line = source.where(row).rsplit(":", 1)
        assert json.loads(open(file).read().splitlines()[int(line) - 1])["text"] == record.text
    assert source.where(row_id(1, 100)) == f"{files[1]}:101"
    assert source.shapes == {"pretrain": 606}


def test_without_a_purpose_every_known_shape_is_read(tmp_path):
    file = tmp_path / "x.jsonl"
    file.write_text(f"{GOOD}\n{GOOD_CHAT}\n")
    assert [type(record) for _, record in Source([file], None)] == [Text, Dialogue]


@given(
    st.lists(st.text(max_size=5).filter(lambda line: "\n" not in line), min_size=1, max_size=60),
    st.booleans(),
    st.integers(1, 40),
)
@settings(deadline=None)
def test_reading_may_begin_again_at_any_row(tmp_path_factory, lines, ended, size):
    path = tmp_path_factory.mktemp("lines") / "x.jsonl"
    path.write_text("\n".join(json.dumps({"text": line}) for line in lines) + "\n" * ended)
    with mock.patch("danlu.data.formats.BLOCK", size):
        file = JsonLines(path, Reading())
        rows = [row for block in file.blocks() for row in block.rows()]
        assert [row.value["text"] for row in rows] == lines
        assert [row.place.number for row in rows] == list(range(len(lines)))
        for number, row in enumerate(rows):
            assert [row for block in file.blocks(row.place) for row in block.rows()] == rows[number:]


def test_tools_may_stand_in_the_row_or_in_the_system_message_as_values_or_as_text(tmp_path):
    tools = [{"name": "f"}]
    system = {"role": "system", "content": "s"}
    rest = [json.loads(ASK), json.loads(answer())]
    rows = [
        {"messages": [system, *rest], "tools": tools},
        {"messages": [system, *rest], "tools": json.dumps(tools)},
        {"messages": [{**system, "tools": tools}, *rest]},
        {"messages": [{**system, "functions": json.dumps(tools)}, *rest]},
    ]
    file = tmp_path / "x.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for _, record in Source([file], "chat"):
        assert record == Dialogue([system, *rest], tools)


def test_calls_thoughts_and_results_need_no_words(tmp_path):
    calls = [{"function": {"name": "f", "arguments": {}}}]
    messages = [
        json.loads(ASK),
        {"role": "assistant", "content": None, "tool_calls": json.dumps(calls)},
        {"role": "tool", "content": ""},
        {"role": "tool", "content": "x"},
        {"role": "assistant", "content": "", "reasoning_content": "hm"},
    ]
    file = tmp_path / "x.jsonl"
    file.write_text(json.dumps({"messages": messages}))
    ((_, record),) = Source([file], "chat")
    assert record.messages[1] == {"role": "assistant", "content": "", "tool_calls": calls}
