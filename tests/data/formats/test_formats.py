"""Every format gives the rows that were written, and begins again at any of them, however it is cut."""

from __future__ import annotations

import json
import pickle
import random
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.data.formats import Reading
from danlu.data.formats.opening import opened
from data.formats.written import BINARY, TEXT, written

NAMES = [*TEXT, *BINARY, *(name + packed for name in TEXT for packed in (".gz", ".zst"))]
# What a table of text can hold: no control characters, which are refused there.
LETTERS = st.sampled_from(list("ab ,:;\"'\\[]{}\t\r\n丹炉乗燼é😀0"))
CELL = st.text(LETTERS, min_size=1, max_size=12)
ROWS = st.lists(st.fixed_dictionaries({"text": CELL, "more": CELL}), min_size=1, max_size=25)


@pytest.mark.parametrize("name", NAMES)
@given(rows=ROWS, block=st.integers(1, 300))
@settings(deadline=None, max_examples=12)
def test_rows_are_those_written_and_reading_begins_again_at_any(tmp_path_factory, name, rows, block):
    path = written(rows, tmp_path_factory.mktemp("rows"), name)
    reading = Reading(encoding="gb18030" if "chinese" in name else "auto")
    with mock.patch("danlu.data.formats.BLOCK", block):
        file = opened(path, reading)
        blocks = [pickle.loads(pickle.dumps(block)) for block in file.blocks()]
        found = [row for block in blocks for row in block.rows()]
        assert [row.value for row in found] == rows
        for before, after in zip(blocks, blocks[1:]):
            assert before.after <= after.place
        for number in range(0, len(found), 1 + len(found) // 5):
            rest = [
                row for block in opened(path, reading).blocks(found[number].place) for row in block.rows()
            ]
            assert rest == found[number:]


@pytest.mark.parametrize("text_by", ["line", "paragraph", "file"])
@given(
    lines=st.lists(st.text(st.sampled_from("a 丹\r"), max_size=6), min_size=1, max_size=20),
    block=st.integers(1, 60),
)
@settings(deadline=None, max_examples=30)
def test_plain_text_is_cut_as_asked(tmp_path_factory, text_by, lines, block):
    text = "\n".join([*lines, "x"])
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_bytes(text.encode())
    if text_by == "line":
        wanted = [line.rstrip("\r") for line in text.split("\n") if line.strip()]
    elif text_by == "file":
        wanted = [text]
    else:
        wanted, held = [], []
        for line in [*text.split("\n"), ""]:
            if line.strip():
                held.append(line)
            elif held:
                wanted.append("\n".join(held).rstrip("\r"))
                held = []
    with mock.patch("danlu.data.formats.BLOCK", block):
        file = opened(path, Reading(text_by=text_by))
        found = [row for block in file.blocks() for row in block.rows()]
        assert [row.value["text"] for row in found] == wanted
        for number, row in enumerate(found):
            assert [row for block in file.blocks(row.place) for row in block.rows()] == found[number:]


@pytest.mark.parametrize("name", ["lines.jsonl", "listed.json", "pretty.json", "table.csv", "chinese.json"])
def test_a_row_is_known_by_the_line_it_begins_on(tmp_path, name):
    rows = [{"text": f"row {i}\nsecond line" * (i % 3 + 1), "more": "丹炉"} for i in range(40)]
    path = written(rows, tmp_path, name)
    content = path.read_bytes()
    with mock.patch("danlu.data.formats.BLOCK", 100):
        for block in opened(path, Reading()).blocks():
            for row in block.rows():
                assert content.count(b"\n", 0, row.place.offset) == row.place.number
                assert content[row.place.offset : row.place.offset + 1] in (b"{", b'"')


def test_one_object_with_messages_is_one_row(tmp_path):
    row = {"messages": [{"role": "user", "content": "q"}], "tools": [{"type": "function", "function": {}}]}
    path = tmp_path / "x.json"
    path.write_text(json.dumps(row, indent=2))
    assert [row.value for block in opened(path, Reading()).blocks() for row in block.rows()] == [row]


def test_reading_holds_a_block_at_a_time_whatever_the_format(tmp_path):
    """Every block is about as large as asked, so that none of them holds the file."""
    noise = random.Random(0)
    rows = [{"text": noise.randbytes(150).hex()} for _ in range(4000)]
    for name in NAMES:
        path = written(rows, tmp_path, name)
        with mock.patch("danlu.data.formats.BLOCK", 1 << 16):
            sizes = [len(pickle.dumps(block)) for block in opened(path, Reading()).blocks()]
        assert max(sizes) < 4 << 16 and len(sizes) > 5, name
