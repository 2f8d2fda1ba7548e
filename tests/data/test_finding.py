"""What a path means: a file, a folder, a pattern, a saved data set; and keys under other names."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from danlu.base.errors import UserError
from danlu.data.fields import Names
from danlu.data.finding import files
from danlu.data.formats import Reading
from danlu.data.records import Dialogue, Text
from danlu.data.rows import BadRow
from danlu.data.sources import Source


def texts(*paths, **reading):
    return [record.text for _, record in Source(paths, "pretrain", Reading(**reading))]


@pytest.fixture
def folder(tmp_path):
    for name in (
        "b.jsonl",
        "a.csv",
        "sub/c.txt",
        ".hidden.jsonl",
        ".git/x.jsonl",
        "README.md",
        "LICENSE",
        "x.png",
    ):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            "text\nin csv\n" if name.endswith("csv") else name if "txt" in name else '{"text": "json"}'
        )
    return tmp_path / "data"


def test_a_folder_is_its_files_in_order_and_what_is_none_is_said(folder, capsys):
    assert texts(folder) == ["in csv", "json", "sub/c.txt"]
    said = capsys.readouterr().err.splitlines()
    assert said == [f"{folder}: passed over, not files of rows: x.png"]


def test_a_mended_copy_beside_its_original_is_passed_over_and_said(folder, capsys):
    for name in ("a.fixed.jsonl", "b.jsonl.fixed.jsonl", "x.fixed.jsonl", "sub/b.fixed.jsonl"):
        (folder / name).write_text(json.dumps({"text": name}))
    assert texts(folder) == ["in csv", "json", "sub/b.fixed.jsonl", "sub/c.txt", "x.fixed.jsonl"]
    copies = "mended copies of others: a.fixed.jsonl, b.jsonl.fixed.jsonl"
    assert capsys.readouterr().err.splitlines() == [
        f"{folder}: passed over, not files of rows: x.png; {copies}"
    ]
    assert texts(folder / "a.fixed.jsonl") == ["a.fixed.jsonl"], "by its name it is read"


def test_a_pattern_is_every_file_like_it(folder):
    assert [path.name for path in files([f"{folder}/*.[jc]s*"])] == ["a.csv", "b.jsonl"]
    assert [path.name for path in files([f"{folder}/**/*.txt"])] == ["c.txt"]
    with pytest.raises(UserError, match="no file is like this"):
        files([f"{folder}/*.arrow"])


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path):
    path = tmp_path / "a[1].jsonl"
    path.write_text('{"text": "x"}')
    assert texts(path) == ["x"]


def test_a_file_given_twice_is_read_once_and_said(folder, capsys):
    (folder / "link.jsonl").symlink_to("b.jsonl")
    assert len(files([folder / "b.jsonl", folder, folder / "b.jsonl"])) == 3
    assert capsys.readouterr().err.count("given twice") == 3


def test_a_folder_without_rows_names_what_is_there(folder):
    for file in ("b.jsonl", "a.csv", "sub/c.txt"):
        (folder / file).unlink()
    with pytest.raises(UserError, match=r"no file in it can be read; there is x.png"):
        files([folder])


def saved(folder, texts):
    """Write a folder as `save_to_disk` does."""
    folder.mkdir(parents=True)
    names = [f"data-{i:05}-of-{len(texts):05}.arrow" for i in range(len(texts))]
    for name, text in zip(names, texts):
        table = pa.table({"text": [text]})
        with pa.ipc.new_stream(str(folder / name), table.schema) as out:
            out.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text("{}")


def test_a_saved_data_set_is_its_shards_in_their_order(tmp_path):
    saved(tmp_path / "set", ["one", "two", "three"])
    assert texts(tmp_path / "set") == ["one", "two", "three"]
    (tmp_path / "set" / "state.json").write_text("{")
    with pytest.raises(UserError, match="state.json: cannot be read"):
        texts(tmp_path / "set")


def test_of_saved_parts_the_training_one_is_taken_and_said(tmp_path, capsys):
    for part in ("train", "test"):
        saved(tmp_path / "set" / part, [part])
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert texts(tmp_path / "set") == ["train"] and texts(tmp_path / "set" / "test") == ["test"]
    assert "has the parts train, test; 'train' is taken" in capsys.readouterr().err
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["test", "extra"]}')
    with pytest.raises(UserError, match="has the parts test, extra, no 'train'") as error:
        texts(tmp_path / "set")
    assert error.value.hint.endswith("set/test")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.json", '{"text": "a"}\n{"text": "b"}\n', "holds JSON lines"),
        ("x.jsonl", '[{"text": "a"},\n {"text": "b"}]', "holds one JSON list"),
        ("x.jsonl.gz", '{"text": "a"}\n{"text": "b"}\n', "is not compressed"),
    ],
)
def test_a_file_under_another_name_is_read_as_what_it_is(tmp_path, capsys, name, content, said):
    (tmp_path / name).write_text(content)
    assert texts(tmp_path / name) == ["a", "b"]
    assert said in capsys.readouterr().err


def test_a_packed_file_needs_no_name_that_says_so(tmp_path, capsys):
    import gzip

    import zstandard

    (tmp_path / "a.csv").write_bytes(gzip.compress(b"text\na\n"))
    (tmp_path / "b.jsonl").write_bytes(zstandard.compress(b'{"text": "b"}'))
    assert texts(tmp_path) == ["a", "b"]
    assert capsys.readouterr().err.count("though its name does not say so") == 2


def test_keys_under_other_names_are_read_as_ours(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"body": {"plain": "a"}, "title": "t"}\n{"body": {}}\n{"body": {"plain": "b"}}\n')
    source = Source([path], "pretrain", Reading(fields={"text": "body.plain"}))
    found = [row.record for row in source.found()]
    assert found[0] == Text("a") and found[2] == Text("b")
    assert isinstance(found[1], BadRow) and "body.plain: is missing, and fields names it" in str(found[1])


def test_keys_and_roles_of_messages_are_read_as_ours(tmp_path):
    path = tmp_path / "x.jsonl"
    talk = [{"who": "human", "says": "q"}, {"who": "bot", "says": "a"}]
    path.write_text(json.dumps({"dialog": talk}))
    fields = {
        "messages": "dialog",
        "message.role": "who",
        "message.content": "says",
        "role.user": "human",
        "role.assistant": "bot",
    }
    ((_, record),) = Source([path], "chat", Reading(fields=fields))
    wanted = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    assert isinstance(record, Dialogue) and record.messages == wanted


def test_a_key_of_a_message_that_is_not_there_is_named_with_its_place():
    names = Names({"message.role": "who"})
    with pytest.raises(BadRow, match=r"messages\[1\].who: is missing"):
        names.apply({"messages": [{"who": "user"}, {"role": "x"}]})


@pytest.mark.parametrize("fields", [{"": "a"}, {"text": ""}, {"body.text": "a"}])
def test_a_name_that_cannot_be_is_refused_before_anything_is_read(fields):
    with pytest.raises(UserError, match="fields: "):
        Source([], "pretrain", Reading(fields=fields))
