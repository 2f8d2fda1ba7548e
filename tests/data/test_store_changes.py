"""What is encoded is what was fingerprinted: input that changes on the way is noticed and not kept."""

from __future__ import annotations

import json

import pytest

from danlu.base.errors import UserError
from danlu.data import store
from danlu.data.encode import Options
from danlu.data.encoded import encoded
from danlu.data.formats import Reading
from danlu.data.parts import BlockEncoder
from danlu.data.prepared import are_prepared, prepare
from danlu.data.sources import Source
from danlu.data.store import Task
from danlu.tokenizer.tokenizer import Tokenizer

STARTER = Tokenizer.load("starter")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "encoded"


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": f"a text, number {i}"}) + "\n" for i in range(300)))
    return path


class Meddled(Source):
    """Somebody writes to the file once its first block was read."""

    def blocks(self, *at):
        for number, block in enumerate(super().blocks(*at)):
            yield block
            if not number:
                content = self.files[0].path.read_bytes()
                self.files[0].path.write_bytes(content.replace(b"299", b"888"))
                self.files[0].path.write_bytes(content)


def test_a_store_of_input_that_changed_on_the_way_is_not_kept(texts, tmp_path):
    encoder = BlockEncoder("pretrain", STARTER, Options(32), Reading())
    out = tmp_path / "out"
    with pytest.raises(UserError, match="texts.jsonl: changed while it was encoded"):
        prepare(out, Task(Meddled([texts], "pretrain"), encoder, shard_tokens=500))
    assert not list(out.glob("0*")) and not (out / "manifest.json").exists()
    made = prepare(out, Task(Source([texts], "pretrain"), encoder, shard_tokens=500))
    assert len(made.shards) > 1


def test_nor_is_an_entry_of_the_cache(texts, cache, monkeypatch):
    monkeypatch.setattr("danlu.data.encoded.Source", Meddled)
    with pytest.raises(UserError, match="changed while it was encoded"):
        encoded([texts], "pretrain", STARTER, Options(32))
    assert not [path for path in cache.iterdir() if path.is_dir()]


def test_a_file_that_changes_under_its_fingerprint_is_not_remembered(texts, monkeypatch):
    import os

    os.utime(texts, (1, 1))
    whole = store.paths.sha256

    def slowly(path):
        digest = whole(path)
        path.write_bytes(path.read_bytes() + b"{}\n")
        os.utime(path, (1, 1))
        return digest

    monkeypatch.setattr(store.paths, "sha256", slowly)
    first = store.fingerprint(texts)
    monkeypatch.undo()
    assert store.fingerprint(texts) != first


@pytest.mark.parametrize("content", ["[1]", "{", '{"shards": 3}', "\xff"])
def test_a_manifest_of_others_belongs_to_the_data(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content, encoding="latin-1")
    assert not are_prepared([tmp_path])


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -1.0, 0.0])
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises(UserError, match="tag_weight: found"):
        BlockEncoder("chat", STARTER, Options(32, weight), Reading())


def test_a_prepared_folder_is_not_read_in_another_way_in_silence(texts, tmp_path):
    encoder = BlockEncoder("pretrain", STARTER, Options(32), Reading())
    prepare(tmp_path / "out", Task(Source([texts], "pretrain"), encoder))
    with pytest.raises(UserError, match="read in another way") as error:
        encoded([tmp_path / "out"], "pretrain", STARTER, Options(32), Reading({"text": "body"}))
    assert "without data.fields" in error.value.hint
    assert len(encoded([tmp_path / "out"], "pretrain", STARTER, Options(32)))
