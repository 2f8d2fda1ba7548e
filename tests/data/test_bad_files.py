"""Whatever is broken is named by file and line; nothing crashes or is lost in silence, the good rows live."""

from __future__ import annotations

import gzip
import io
import json
import os
import tracemalloc
import zlib
from unittest import mock

import pyarrow as pa
import pyarrow.parquet
import pytest
import zstandard

from danlu.base.errors import UserError
from danlu.data.formats import Reading
from danlu.data.rows import BadRow
from danlu.data.sources import Source

A, B = '{"text": "a"}', '{"text": "b"}'
NOT_JSON = "not valid JSON"


def around(line: str | bytes) -> bytes:
    """Return a line between two good ones."""
    return b"\n".join([A.encode(), line if isinstance(line, bytes) else line.encode(), B.encode(), b""])


def table(columns: dict[str, list], groups: int = 100, **options) -> bytes:
    out = io.BytesIO()
    pa.parquet.write_table(pa.table(columns), out, row_group_size=groups, **options)
    return out.getvalue()


def stream(texts: list[str], chunk: int = 1) -> bytes:
    out = io.BytesIO()
    content = pa.table({"text": texts})
    with pa.ipc.new_stream(out, content.schema) as writer:
        writer.write_table(content, max_chunksize=chunk)
    return out.getvalue()


def damaged(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


MANY = [f"{i} {zlib.crc32(b'%d' % i)}" for i in range(20_000)]
LINES = "".join(f'{{"text": "{text}"}}\n' for text in MANY).encode()
CHECKED = zstandard.ZstdCompressor(write_checksum=True)
STORED = gzip.compress(LINES, 0)
BOTH = ["a", "b"]

# name, bytes, the texts that are read, the lines (from 1) that are bad and what is said of each
ROWS = [
    ("cut.jsonl", f'{A}\n{{"text": "b'.encode(), ["a"], {2: "unterminated string"}),
    ("brace.jsonl", around('{"text": "x"'), BOTH, {2: NOT_JSON}),
    ("trailing.jsonl", around('{"text": "x",}'), BOTH, {2: NOT_JSON}),
    ("comma.jsonl", around('{"text": "x"},'), BOTH, {2: "there is more after the value"}),
    ("two.jsonl", around('{"text": "x"} {"text": "y"}'), BOTH, {2: "there is more after the value"}),
    ("single.jsonl", around("{'text': 'x'}"), BOTH, {2: NOT_JSON}),
    ("python.jsonl", around('{"text": "x", "y": None}'), BOTH, {2: NOT_JSON}),
    ("words.jsonl", around("just some words"), BOTH, {2: NOT_JSON}),
    ("unquoted.jsonl", around('{text: "x"}'), BOTH, {2: NOT_JSON}),
    ("comment.jsonl", around("// a comment"), BOTH, {2: NOT_JSON}),
    ("list.jsonl", around("[1, 2]"), BOTH, {2: "the row is a list"}),
    ("number.jsonl", around("3"), BOTH, {2: "the row is a number"}),
    ("null.jsonl", around("null"), BOTH, {2: "the row is null"}),
    ("nan.jsonl", around('{"text": "x", "y": NaN}'), BOTH, {2: "NaN is no JSON number"}),
    ("infinity.jsonl", around('{"text": "x", "y": -Infinity}'), BOTH, {2: "-Infinity is no JSON number"}),
    ("float.jsonl", around('{"text": "x", "y": 1e999}'), BOTH, {2: "1e999 is too large"}),
    ("digits.jsonl", around('{"text": "x", "y": ' + "9" * 5000 + "}"), BOTH, {2: NOT_JSON}),
    ("twice.jsonl", around('{"text": "x", "text": "y"}'), BOTH, {2: "text: is written twice"}),
    ("deeper.jsonl", around('{"text": "x", "m": {"k": 1, "k": 1}}'), BOTH, {2: "k: is written twice"}),
    ("deep.jsonl", around('{"text": ' + "[" * 90_000 + "]" * 90_000 + "}"), BOTH, {2: "nested too deeply"}),
    ("nul.jsonl", around(b'{"text": "x\0"}'), BOTH, {2: NOT_JSON}),
    ("nuls.jsonl", around(b"\0" * 50), BOTH, {2: NOT_JSON}),
    ("control.jsonl", around(b'{"text": "x\x07"}'), BOTH, {2: NOT_JSON}),
    ("tab.jsonl", around(b'{"text": "x\ty"}'), BOTH, {2: NOT_JSON}),
    ("half.jsonl", around('{"text": "\\udc00"}'), BOTH, {2: "half a character"}),
    (
        "latin.jsonl",
        around('{"text": "café x"}'.encode("latin-1")),
        BOTH,
        {2: r"byte 14 \(0xe9\)"},
    ),
    ("bom.jsonl", around(b"\xef\xbb\xbf" + A.encode()), BOTH, {2: "begins with a byte order mark"}),
    ("missing.jsonl", around('{"texts": "x"}'), BOTH, {2: "text"}),
    ("nothing.jsonl", around("{}"), BOTH, {2: "text"}),
    ("nullfield.jsonl", around('{"text": null}'), BOTH, {2: "text.*null"}),
    ("wrongtype.jsonl", around('{"text": {"a": 1}}'), BOTH, {2: "text.*object"}),
    ("blank.jsonl", around('{"text": "  "}'), BOTH, {2: "text.*empty"}),
    ("crlf.jsonl", f"{A}\r\n{{x}}\r\n{B}\r\n".encode(), BOTH, {2: NOT_JSON}),
    ("every.jsonl", b"{\n}\n[\n" + A.encode(), ["a"], {1: NOT_JSON, 2: NOT_JSON, 3: NOT_JSON}),
    ("mixed.jsonl", around('{"messages": [{"role": "user", "content": "q"}]}'), BOTH, {2: "messages|text"}),
    ("wrong.jsonl.gz", gzip.compress(around("{")), BOTH, {2: NOT_JSON}),
    ("wrong.jsonl.zst", zstandard.compress(around("{")), BOTH, {2: NOT_JSON}),
    ("long.jsonl", around('{"text": "' + "x" * 5000 + '"}'), BOTH, {2: "is longer than"}),
    ("long.csv", b"text\na\n" + b"x" * 5000 + b"\nb\n", BOTH, {3: "is longer than"}),
    ("long.txt", b"a\n" + b"x" * 5000 + b"\nb\n", BOTH, {2: "is longer than"}),
    ("long.json", f'[\n{A},\n{{"text": "{"x" * 9000}"}},\n{B}\n]'.encode(), BOTH, {3: r"\[1\].*longer than"}),
    ("one.json", b'{"text": "a"', [], {1: NOT_JSON}),
    ("junk.json", b"hello", [], {1: NOT_JSON}),
    ("empty.json", b"[]", [], {1: "the list is empty"}),
    ("item.json", f'[\n{A},\n{{"text": }},\n{B}\n]'.encode(), BOTH, {3: r"\[1\]: not valid JSON at line 3"}),
    (
        "inner.json",
        f'[{A},\n{{\n"text":\n\n}},\n{B}]'.encode(),
        BOTH,
        {2: r"\[1\]: .*at line 5"},
    ),
    ("field.json", f'[{A}, {{"text": ""}}, {B}]'.encode(), BOTH, {1: r"\[1\]\.text.*empty"}),
    ("strange.json", f'[{A}, 7, "x", {B}]'.encode(), BOTH, {1: r"\[[12]\].*not an object"}),
    ("comma.json", f"[{A},\n{B},\n]".encode(), BOTH, {2: r"\[2\]: nothing stands between"}),
    ("commas.json", f"[{A},\n,{B}]".encode(), BOTH, {1: r"\[1\]: nothing stands between"}),
    ("open.json", f"[{A},\n{B}".encode(), BOTH, {2: "the list is never closed"}),
    ("cut.json", f'[{A},\n{B},\n{{"text": "c'.encode(), BOTH, {3: r"\[2\]: is never closed"}),
    ("brace.json", f'[\n{A},\n{{"text": "x",\n{B}\n]'.encode(), BOTH, {3: r"\[1\]: is never closed"}),
    ("extra.json", f'[\n{A},\n{{"text": "x"}}}},\n{B}\n]'.encode(), BOTH, {3: r"\[1\].*not opened"}),
    ("quote.json", f'[\n{A},\n{{"text": "x}},\n{B}\n]'.encode(), BOTH, {3: r"\[1\]"}),
    ("after.json", f"[{A},\n{B}]\n{A}".encode(), BOTH, {3: "there is more after the list"}),
    ("key.json", f'{{"n": 1,\n"data": [{A},\n{{"text": 1}},\n{B}]}}'.encode(), BOTH, {3: r"\[1\]\.text"}),
    (
        "twice.json",
        f'[{A},\n{{"text": "x", "text": "y"}},\n{B}]'.encode(),
        BOTH,
        {2: r"\[1\]\.text: is written twice"},
    ),
    ("stray.csv", b'text,n\na,1\nx"y,2\nb,3\n', BOTH, {3: "a quote stands where none may"}),
    ("after.csv", b'text,n\na,1\n"x"y,2\nb,3\n', BOTH, {3: "a quote stands where none may"}),
    ("open.csv", b'text,n\na,1\n"x,2\nb,3\n', BOTH, {3: "is never closed"}),
    ("few.csv", b"text,n\na,1\nx\nb,3\n", BOTH, {3: "has 1 field; the header has 2"}),
    ("many.csv", b"text,n\na,1\nx,2,3\nb,3\n", BOTH, {3: "has 3 fields; the header has 2"}),
    ("lines.csv", b'n,text\n1,a\n"two\nlines"\n3,b\n', BOTH, {3: "has 1 field;"}),
    ("nul.csv", b"text,n\na,1\nx\0,2\nb,3\n", BOTH, {3: r"control character \(0x00\)"}),
    ("latin.csv", "text,n\na,1\ncafé,2\nb,3\n".encode("latin-1"), BOTH, {3: r"\(0xe9\) is not UTF-8"}),
    ("header.csv", b"text,n\n", [], {1: "the header is all there is"}),
    ("column.csv", b"wrods,n\na,1\n", [], {2: "text"}),
    ("void.csv", b"text,n\na,1\n,2\nb,3\n", BOTH, {3: "text.*empty"}),
    ("few.tsv", b"text\tn\na\t1\nx\nb\t3\n", BOTH, {3: "has 1 field;"}),
    ("nul.txt", b"a\nx\0\nb\n", BOTH, {2: "byte 2 is a control character"}),
    ("escape.txt", b"a\n\x1b[31mx\nb\n", BOTH, {2: "control character"}),
    ("wrong.txt", b"a\nx\xff\nb\n", BOTH, {2: r"byte 2 \(0xff\) is not UTF-8"}),
    ("bom.txt", b"a\n\xef\xbb\xbfx\nb\n", BOTH, {2: "byte order mark"}),
    ("other.parquet", table({"wrods": ["x"]}), [], {1: "text"}),
    ("null.parquet", table({"text": ["a", None, "b"]}), BOTH, {2: "text.*null"}),
    ("type.parquet", table({"text": [1]}), [], {1: "text.*number"}),
    ("none.parquet", table({"text": []}), [], {1: "the table has no rows"}),
    ("none.arrow", stream([]), [], {1: "the table has no rows"}),
]


def read(path, reading=None):
    """Return the texts of the good rows, and what is said of the bad ones by line."""
    source = Source([path], "pretrain", reading)
    good, bad = [], {}
    for found in source.found():
        if isinstance(found.record, BadRow):
            error = source.error(found.row, found.record)
            file, _, line = error.problem.partition(": ")[0].rpartition(":")
            assert file == str(path) and error.hint and len(str(error).splitlines()) == 2
            bad.setdefault(int(line), []).append(error.problem)
        else:
            good.append(found.record.text)
    return good, bad


@pytest.mark.parametrize(("name", "data", "texts", "wrong"), ROWS, ids=[row[0] for row in ROWS])
def test_a_bad_row_is_named_and_the_good_ones_are_read(tmp_path, name, data, texts, wrong):
    path = tmp_path / name
    path.write_bytes(data)
    with mock.patch("danlu.data.formats.LONGEST", 4096 if name.startswith("long.") else 64 << 20):
        with mock.patch("danlu.data.formats.BLOCK", 512):
            good, bad = read(path)
    assert good == texts
    assert set(bad) == set(wrong), bad
    for line, message in wrong.items():
        pytest.raises(UserError, _raise, bad[line][0]).match(message)


def _raise(problem: str) -> None:
    raise UserError(problem)


# name, bytes, what is said of the file
FILES = [
    ("wide.jsonl", A.encode("utf-16"), "is UTF-16"),
    ("wide.csv", "text\na\n".encode("utf-16"), "is UTF-16"),
    ("wide.txt", ("some words and more\n" * 9).encode("utf-16-le"), "is UTF-16"),
    ("empty.jsonl", b"", "is empty"),
    ("x.exe", b"MZ", "'.exe' cannot be read"),
    ("noending", b"a", "cannot be read"),
    ("old.jsonl.bz2", b"BZh91AY", "cannot be read"),
    ("bzip.jsonl", b"BZh91AY&SY", "is compressed with bzip2"),
    ("zip.csv", b"PK\x03\x04rest", "is compressed with zip"),
    ("twice.csv", b"text,text\na,b\n", ":1: two columns are called 'text'"),
    ("unnamed.csv", b"text,,n\na,b,c\n", ":1: column 2 has no name"),
    ("stray.csv", b'text,"n\na,b\n', ":1: the header is not closed"),
    ("blank.csv", b"\n\n", "holds no row"),
    ("blank.jsonl", b"\n \r\n\t\n", "holds no row"),
    ("blank.json", b"\n" * 200_000, "holds no row"),
    ("blank.txt", b"\xef\xbb\xbf\n\n", "holds no row"),
    ("blank.jsonl.gz", gzip.compress(b"\n" * 200_000), "holds no row"),
    ("header.csv", b"te\xffxt,n\na,b\n", ":1: byte 3"),
    ("cut.parquet", table({"text": BOTH})[:-20], "is no whole Parquet file"),
    ("words.parquet", b"these are words", "is no whole Parquet file"),
    ("words.arrow", b"these are words, many of them", "is no whole Arrow file"),
    ("lists.json", f'{{"a": [{A}], "b": [{B}]}}'.encode(), "several lists of rows: 'a', 'b'"),
]


@pytest.mark.parametrize(("name", "data", "message"), FILES, ids=[file[0] for file in FILES])
def test_a_file_that_cannot_be_read_at_all_is_refused_in_two_lines(tmp_path, name, data, message):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(UserError, match=message) as error:
        read(path)
    assert error.value.problem.startswith(str(path)) and error.value.hint
    assert len(str(error.value).splitlines()) == 2


CUT = [
    # what is left of the stream, and why it ends
    ("cut.jsonl.gz", STORED[: len(STORED) // 2], "cut off"),
    ("cut.jsonl.zst", zstandard.compress(LINES)[:-2000], "cut off"),
    ("header.jsonl.gz", STORED[:8], "cut off"),
    ("damaged.jsonl.gz", damaged(gzip.compress(LINES), 60_000), "is damaged|incorrect"),
    (
        "damaged.jsonl.zst",
        damaged(zstandard.ZstdCompressor(write_checksum=True).compress(LINES), 60_000),
        "damaged",
    ),
    ("garbage.jsonl.gz", gzip.compress(LINES) + b"what is this", "is damaged"),
    ("cut.csv.gz", gzip.compress(b"text\n" + "\n".join(MANY).encode(), 0)[:150_000], "cut off"),
    ("cut.txt.gz", gzip.compress("\n".join(MANY).encode(), 0)[:150_000], "cut off"),
    ("cut.json.gz", gzip.compress(json.dumps([{"text": t} for t in MANY]).encode(), 0)[:150_000], "cut off"),
]


@pytest.mark.parametrize(("name", "data", "message"), CUT, ids=[file[0] for file in CUT])
def test_of_a_broken_stream_everything_before_the_break_is_read(tmp_path, name, data, message):
    path = tmp_path / name
    path.write_bytes(data)
    if name.startswith("damaged"):
        # Without a checksum in between, what inflates before the break may differ from what was packed.
        good, bad = read(path)
        assert sum(text == wanted for text, wanted in zip(good, MANY)) > 100
    else:
        good, bad = read(path)
        assert good == MANY[: len(good)]
    if name.startswith("garbage"):
        assert good == MANY
    elif name.startswith("cut") and name.endswith("gz"):
        inflated = zlib.decompressobj(31).decompress(data)
        whole = (
            inflated.count(b"\n") - name.endswith("csv.gz")
            if "json.gz" not in name
            else inflated.count(b"},")
        )
        assert len(good) == whole
    problems = [problem for line in bad.values() for problem in line]
    pytest.raises(UserError, _raise, problems[-1]).match(message)


def test_a_broken_row_group_costs_itself_only(tmp_path):
    path = tmp_path / "x.parquet"
    texts = [f"{i:05} words" for i in range(300)]
    data = table({"text": texts}, groups=100, use_dictionary=False, compression="gzip")
    middle = pa.parquet.ParquetFile(io.BytesIO(data)).metadata.row_group(1).column(0).data_page_offset
    path.write_bytes(data[: middle + 40] + bytes(60) + data[middle + 100 :])
    good, bad = read(path)
    assert good == texts[:100] + texts[200:]
    assert list(bad) == [101] and "rows 101 to 200 cannot be read" in bad[101][0]


def test_a_cut_arrow_stream_gives_what_it_has(tmp_path):
    texts = [f"{i}" for i in range(50)]
    data = stream(texts)
    path = tmp_path / "x.arrow"
    path.write_bytes(data[: len(data) // 2])
    good, bad = read(path)
    assert 10 < len(good) < 40 and good == texts[: len(good)]
    assert list(bad) == [len(good) + 1] and "cannot be read" in bad[len(good) + 1][0]


def test_a_line_of_a_hundred_megabytes_is_refused_without_being_held_twice_over(tmp_path):
    path = tmp_path / "x.jsonl"
    with path.open("wb") as file:
        file.write(A.encode() + b'\n{"text": "')
        for _ in range(100):
            file.write(b"x" * (1 << 20))
        file.write(b'"}\n' + B.encode())
    tracemalloc.start()
    good, bad = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert good == BOTH and "is longer than 64 MB" in bad[2][0]
    assert peak < 200 << 20


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: os.mkfifo(path), "is a pipe or a device"),
        (lambda path: path.symlink_to("/dev/zero"), "is a pipe or a device"),
        (lambda path: path.symlink_to(path), "cannot be read"),
        (lambda path: path.symlink_to("nowhere"), "a link to a file that is not there"),
        (lambda path: None, "no such file"),
    ],
)
def test_what_is_no_file_is_refused(tmp_path, make, message):
    path = tmp_path / "x.jsonl"
    make(path)
    with pytest.raises(UserError, match=message) as error:
        Source([path], "pretrain")
    assert len(str(error.value).splitlines()) == 2


CHATS = [
    ('{"messages": [{"role": "assistant", "content": "a"}, {"role": "system", "content": "s"}]}', "system"),
    ('{"messages": [{"role": "user", "content": "q"}, {"role": "user", "content": "q"}]}', "messages"),
    ('{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": ""}]}', "content"),
    ('{"messages": [{"role": "user", "content": "q"}, {"role": "robot", "content": "a"}]}', "robot"),
    ('{"messages": [{"role": "user"}, {"role": "assistant", "content": "a"}]}', "content"),
    ('{"messages": null}', "messages"),
    ('{"messages": {}}', "messages"),
]


@pytest.mark.parametrize(("row", "message"), CHATS, ids=range(len(CHATS)))
@pytest.mark.parametrize("name", ["x.jsonl", "x.json"])
def test_a_bad_chat_is_named_in_either_form(tmp_path, row, message, name):
    good = '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}'
    path = tmp_path / name
    lines = [good, row, good]
    path.write_text("[" + ",\n".join(lines) + "]" if name.endswith("json") else "\n".join(lines))
    found = list(Source([path], "chat").found())
    assert [isinstance(row.record, BadRow) for row in found] == [False, True, False]
    assert found[1].place.number == 1 and message in str(found[1].record)


def test_the_encoding_may_be_said_instead_of_told(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes("丹炉\n".encode("gb18030"))
    assert read(path)[0] == ["丹炉"]
    good, bad = read(path, Reading(encoding="utf-8"))
    assert not good and "is not UTF-8" in bad[1][0]
    path.write_bytes("繁體\n".encode("gb18030") + b"\xff\n")
    good, bad = read(path, Reading(encoding="gb18030"))
    assert good == ["繁體"] and "is not GB18030" in bad[2][0]
    with pytest.raises(UserError, match="no encoding 'latin-1'"):
        read(path, Reading(encoding="latin-1"))
