"""The real clients of both hubs, against a host on this machine: what is fetched is what lies there."""

from __future__ import annotations

import json
import random
import socket

import pytest

from danlu.base.errors import UserError
from danlu.data.formats import FORMATS
from danlu.data.sources import Source
from danlu.hub.fetch import fetched
from danlu.hub.names import File, chosen, parse, part_of
from hub.server import Host

ENDINGS = tuple(FORMATS)


def rows(*texts: str) -> bytes:
    return "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts).encode()


SPLIT = {
    "README.md": b"# about",
    "dataset_infos.json": b"{}",
    ".gitattributes": b"",
    "data/train-00000-of-00002.jsonl": rows("one", "two"),
    "data/train-00001-of-00002.jsonl": rows("three 丹炉"),
    "data/validation-00000-of-00001.jsonl": rows("four"),
    "data/test.jsonl": rows("five"),
    "picture.png": b"no",
}
PLAIN = {"a.jsonl": rows("alpha"), "sub/b.csv": b"text\nbeta\n"}
NOTHING = {"README.md": b"#", "weights.bin": b"x"}
# One of the clients keeps what came in pieces of ten megabytes, so the file must be larger than that.
BIG = {"train.jsonl": rows(*(random.Random(1).randbytes(300).hex() for _ in range(33_000)))}


@pytest.fixture
def host(tmp_path, monkeypatch):
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path / "cache"))
    for name in ("HF_HUB_OFFLINE", "DANLU_OFFLINE", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "ms"))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms-cache"))
    with Host({"me/split": SPLIT, "me/plain": PLAIN, "me/none": NOTHING, "me/big": BIG}).open() as host:
        monkeypatch.setenv("HF_ENDPOINT", host.url)
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", host.url)
        yield host


def texts(name: str) -> list[str]:
    return [record.text for _, record in Source([name], "pretrain")]


@pytest.mark.parametrize("hub", ["hf", "ms"])
def test_the_training_part_is_read_in_order_and_said(host, capsys, hub):
    assert texts(f"{hub}://me/split") == ["one", "two", "three 丹炉"]
    assert "the training files are taken, 2 of 4" in capsys.readouterr().err
    assert not [path for _, path, _ in host.asked if "README" in path or "png" in path]


@pytest.mark.parametrize("hub", ["hf", "ms"])
def test_a_file_or_folder_may_be_named(host, hub):
    assert texts(f"{hub}://me/split:data/test.jsonl") == ["five"]
    assert texts(f"{hub}://me/split:data") == ["five", "one", "two", "three 丹炉", "four"]
    assert texts(f"{hub}://me/plain") == ["alpha", "beta"]
    with pytest.raises(UserError, match="no such file or folder of data") as error:
        texts(f"{hub}://me/split:date")
    assert "data/test.jsonl" in error.value.hint


@pytest.mark.parametrize("hub", ["hf", "ms"])
def test_a_name_of_one_slash_as_paths_make_of_it_is_the_same(host, hub, tmp_path):
    from pathlib import Path

    assert texts(Path(f"{hub}://me/plain")) == ["alpha", "beta"]


@pytest.mark.parametrize("hub", ["hf", "ms"])
def test_a_cut_connection_goes_on_where_it_broke(host, hub):
    size = len(BIG["train.jsonl"])
    host.cut_once["train.jsonl"] = size * 3 // 4
    (path,) = fetched(f"{hub}://me/big", ENDINGS)
    assert path.read_bytes() == BIG["train.jsonl"]
    begins = [int(wanted.split("=")[1].split("-")[0]) for _, _, wanted in host.asked if wanted]
    assert any(0 < begin <= size * 3 // 4 for begin in begins), "the rest was asked for, not the whole again"


@pytest.mark.parametrize("hub", ["hf", "ms"])
def test_what_is_here_is_used_without_a_connection(host, hub, monkeypatch):
    first = texts(f"{hub}://me/split")
    asked = len(host.asked)

    def refuse(*args):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert texts(f"{hub}://me/split") == first
    monkeypatch.setenv("DANLU_OFFLINE", "1")
    assert texts(f"{hub}://me/split") == first and len(host.asked) == asked
    with pytest.raises(UserError, match="is not in the cache, and DANLU_OFFLINE is set"):
        texts(f"{hub}://me/plain")
    monkeypatch.delenv("DANLU_OFFLINE")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        texts(f"{hub}://me/plain")


@pytest.mark.parametrize("hub", ["hf", "ms"])
def test_a_file_missing_from_the_cache_is_fetched_again(host, hub):
    first, second = fetched(f"{hub}://me/plain", ENDINGS)
    first.unlink()
    asked = len(host.asked)
    assert fetched(f"{hub}://me/plain", ENDINGS) == [first, second] and first.read_bytes() == PLAIN["a.jsonl"]
    assert not [path for _, path, _ in host.asked[asked:] if "b.csv" in path]


@pytest.mark.parametrize("hub", ["hf", "ms"])
def test_wrong_bytes_are_refused_and_removed(host, hub, monkeypatch):
    host.wrong.add("a.jsonl")
    with pytest.raises(UserError, match="other bytes than the hub has") as error:
        fetched(f"{hub}://me/plain", ENDINGS)
    assert len(str(error.value).splitlines()) == 2
    host.wrong.clear()
    assert [path.read_bytes() for path in fetched(f"{hub}://me/plain", ENDINGS)] == list(PLAIN.values())


@pytest.mark.parametrize("hub", ["hf", "ms"])
@pytest.mark.parametrize(
    ("name", "refuse", "message"),
    [
        ("me/absent", None, "there is no such data set"),
        ("me/none", None, "no files of data in it"),
        ("me/plain", (401, "GatedRepo"), "may not read it|there is no such|refuses"),
        ("me/plain", (403, "GatedRepo"), "may not read it|refuses"),
    ],
)
def test_what_cannot_be_had_is_said_in_two_lines(host, hub, name, refuse, message):
    host.refuse = refuse
    with pytest.raises(UserError, match=message) as error:
        fetched(f"{hub}://{name}", ENDINGS)
    assert error.value.problem.startswith(f"{hub}://{name}@") and error.value.hint
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize("hub", ["hf", "ms"])
def test_no_network_is_said_in_two_lines(host, hub, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setenv("HF_ENDPOINT", nobody)
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", nobody)
    monkeypatch.setenv("MODELSCOPE_API_MAX_RETRIES", "0")
    with pytest.raises(UserError, match="cannot be reached") as error:
        fetched(f"{hub}://me/plain", ENDINGS)
    assert len(str(error.value).splitlines()) == 2


def test_a_revision_that_is_not_there_is_named(host):
    with pytest.raises(UserError, match="there is no revision 'v9'"):
        fetched("hf://me/plain@v9", ENDINGS)


def test_a_disk_without_room_is_said_before_anything_is_written(host, monkeypatch):
    import shutil
    from collections import namedtuple

    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Usage", "total used free")(1, 1, 0))
    with pytest.raises(UserError, match="MB to write, 0.0 MB free"):
        fetched("hf://me/big", ENDINGS)


@pytest.mark.parametrize(
    "name", ["hf://", "hf://a", "hf://a/b/c", "hf://a/b:../../etc", "hf://../b", "ms://a/b@"]
)
def test_what_is_no_name_is_refused(name):
    with pytest.raises(UserError, match="names no data set of a hub"):
        parse(name)


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("train.csv", "train"),
        ("data/dev-1.jsonl", "validation"),
        ("test/a.csv", "test"),
        ("training_set.json", "train"),
        ("trainer.json", ""),
        ("latest.json", ""),
        ("train/test_questions.json", "test"),
    ],
)
def test_a_part_is_told_by_whole_words_of_which_the_last_counts(path, part):
    assert part_of(path) == part


def test_a_data_set_without_a_training_part_asks():
    with pytest.raises(UserError, match="has the parts validation, test, no 'train'"):
        chosen(parse("hf://a/b"), [File("dev.csv", 1), File("test.csv", 1)], ENDINGS)
