"""Mended files: good rows byte for byte, mended ones as meant, nothing lost and nothing bad left."""

from __future__ import annotations

import json

import pytest

from danlu.data.formats import Reading
from danlu.data.lint.amend import amended
from danlu.data.lint.mending import Mending, fixed
from danlu.data.lint.quarantine import quarantine_for
from danlu.data.lint.survey import Options
from danlu.data.rows import BadRow
from danlu.data.sources import Source

ASK = {"role": "user", "content": "q"}
SAY = {"role": "assistant", "content": "a"}
CALL = {"name": "f", "arguments": {"x": 1}}


def chat(*messages, **more):
    return {"messages": list(messages), **more}


AMENDED = [
    # the row, the row made good, what was mended
    ({"text": "a\x00b"}, {"text": "ab"}, "control characters"),
    ({"text": "a\u200bb"}, {"text": "ab"}, "zero-width characters"),
    ({"text": "a\r\nb"}, {"text": "a\nb"}, "carriage returns"),
    ({"text": "浣犲ソ"}, {"text": "你好"}, "mojibake"),
    ({"text": "ä½\xa0å¥½"}, {"text": "你好"}, "mojibake"),
    (chat(ASK | {"role": " User"}, SAY), chat(ASK, SAY), "spelling of roles"),
    (chat(ASK, SAY, ASK | {"content": " "}), chat(ASK, SAY), "empty last messages"),
    (
        chat(ASK, {"role": "assistant", "tool_calls": CALL}),
        chat(ASK, {"role": "assistant", "tool_calls": [CALL]}),
        "tool calls as text",
    ),
    (
        chat(ASK, {"role": "assistant", "tool_calls": json.dumps(CALL)}),
        chat(ASK, {"role": "assistant", "tool_calls": [CALL]}),
        "tool calls as text",
    ),
]


@pytest.mark.parametrize(("row", "good", "name"), AMENDED)
def test_rows_are_mended_and_the_mending_is_named(row, good, name):
    value, _, names = amended(row, None, Reading())
    assert value == good
    assert name in names


@pytest.mark.parametrize(
    "row",
    [
        {"text": ""},
        {"text": None},
        {"text": 3},
        [],
        chat(ASK),
        chat(ASK, ASK, SAY),
        chat({"role": "robot", "content": "x"}, SAY),
        chat(SAY | {"content": ""}),
    ],
)
def test_what_would_have_to_be_guessed_is_refused(row):
    with pytest.raises(BadRow):
        amended(row, None, Reading())


def test_text_that_cannot_be_turned_back_keeps_what_may_be_half_a_letter():
    row = {"text": "ä½ å¥½å\x90\x97 and 好"}
    assert amended(row, None, Reading()) == (row, amended(row, None, Reading())[1], [])


def mend(path, aside=None, purpose=None):
    [done] = Mending(Options(purpose), False, set(), aside).mend([str(path)])
    return done


GOOD = [
    '{"text": "one"}',
    '  {"text":"two" ,  "more":[1,2]}  ',
    '{"text": "\\u4f60"}',
    json.dumps(chat(ASK, SAY | {"tool_calls": None})),
]
BAD = ['{"text": ""}', '{"text": "cut', "[1]", '{"nothing": 1}']


def test_good_rows_stay_byte_for_byte_and_every_row_is_somewhere(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join([*GOOD, *BAD, '{"text": "late",}', GOOD[0]]) + "\n", encoding="utf-8")
    before = path.read_bytes()
    with quarantine_for(tmp_path / "bad.jsonl", [str(path)]) as aside:
        done = mend(path, aside)
    assert path.read_bytes() == before
    lines = (tmp_path / "a.fixed.jsonl").read_text(encoding="utf-8").splitlines()
    assert lines == [*GOOD, '{"text": "late"}']
    left = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text("utf-8").splitlines()]
    assert [row["raw"] for row in left] == BAD
    assert [row["line"] for row in left] == [5, 6, 7, 8]
    assert all(row["file"] == str(path) and row["problem"] and row["remedy"] for row in left)
    assert (done.as_they_stood, done.mended, done.repeated, done.left_out) == (4, 1, 1, 4)
    assert done.first["commas too many"] == f"{path}:9"


def rows_of(path):
    return [record.text for _, record in Source([path], "pretrain")]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b'\xef\xbb\xbf{"text": "one"}\n{"text": "two"}\n', "byte order mark"),
        (b'{"text": "one"}\r{"text": "two"}\r', "line ends"),
        (b'{"text": "one"} {"text": "two"}', "several values on a line"),
        (b'[{"text": "one"},\n{"text": "two"}]\n', "written as JSON lines"),
        (b'[\n {"text":\n "one",},\n {"text":\n "two"\n}\n]\n', "commas too many"),
        (b'{"text": "one"}\r\n{"text": "two"}\r\n', None),
    ],
)
def test_files_written_in_other_ways_are_mended(content, name, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    done = mend(path, purpose="pretrain")
    assert rows_of(fixed(path)) == ["one", "two"]
    assert (tmp_path / "a.fixed.jsonl").read_bytes() == b'{"text": "one"}\n{"text": "two"}\n'
    assert done.left_out == 0 and (name is None or name in done.kinds)


def test_a_file_in_gb18030_becomes_utf8(tmp_path):
    path = tmp_path / "a.jsonl"
    lines = ['{"text": "今天的天气很好"}', '{"text": "plain"}', '{"text": "我们的",}']
    path.write_bytes("\n".join(lines).encode("gb18030"))
    done = mend(path)
    assert fixed(path).read_text("utf-8").splitlines() == [*lines[:2], '{"text": "我们的"}']
    assert (done.as_they_stood, done.mended) == (1, 2)
    assert done.kinds == {"gb18030 to utf-8": 1, "commas too many": 1}


def test_tables_are_written_as_json_lines(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('text,label\n"a, b",one\n,two\nc,one\n')
    done = mend(path)
    written = [json.loads(line) for line in fixed(path).read_text("utf-8").splitlines()]
    assert written == [{"text": "a, b", "label": "one"}, {"text": "c", "label": "one"}]
    assert done.left_out == 1


def test_a_row_that_becomes_several_is_taken_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"} {"text": ""}\n{"text": "two"}\n')
    assert mend(path).left_out == 1
    assert rows_of(fixed(path)) == ["two"]


def test_bytes_that_are_no_text_are_set_aside_as_they_are(tmp_path):
    path = tmp_path / "a.jsonl"
    lines = [b'{"text": "\xff\xfe"}', '{"text": "好的"}'.encode(), b'{"text": "\\ud83d"}']
    path.write_bytes(b"\n".join(lines))
    with quarantine_for(tmp_path / "bad.jsonl", [str(path)]) as aside:
        mend(path, aside)
    import base64

    first, second = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_bytes().splitlines()]
    assert base64.b64decode(first["raw_base64"]) == lines[0]
    assert second["raw"].encode() == lines[2]
