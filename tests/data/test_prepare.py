"""A prepared store: the same bytes however it was made, whole or absent, refused where it does not fit."""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus import WORDS
from danlu.base.errors import UserError
from danlu.data import formats, samples
from danlu.data.encode import KINDS, Options
from danlu.data.encoded import encoded
from danlu.data.formats import Reading
from danlu.data.parts import BlockEncoder
from danlu.data.prepared import prepare
from danlu.data.sources import Source
from danlu.data.store import Task
from danlu.data_prepare import command
from danlu.tokenizer.tokenizer import Tokenizer

STARTER = Tokenizer.load("starter")
ENV = {**os.environ, "PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(ENV, "DANLU_CACHE", str(tmp_path / "cache"))


def write(path, rows, seed=0, bad=()):
    """Write texts of uneven length; some rows are bad."""
    chance = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        for row in range(rows):
            text = " ".join(chance.choices(WORDS, k=chance.randint(1, 80))) + f" {row}"
            file.write(json.dumps({"text": 3 if row in bad else text}, ensure_ascii=False) + "\n")
    return path


def chats(path, rows):
    talks = [
        [
            {"role": "user", "content": f"question {row}"},
            {"role": "assistant", "content": f"answer {row}", "loss_weight": row % 5 / 2},
        ]
        for row in range(rows)
    ]
    path.write_text("\n".join(json.dumps({"messages": talk}) for talk in talks))
    return path


def task(files, kind="pretrain", seq_len=32, **keys):
    encoder = BlockEncoder(kind, STARTER, Options(seq_len), Reading())
    return Task(Source(files, kind), encoder, **keys)


def content(folder):
    """Return every file of a store and its hash; the time it took stands in the manifest only."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != ".lock"):
        data = path.read_bytes()
        if path.name == "manifest.json":
            data = json.dumps(json.loads(data) | {"seconds": 0}).encode()
        found[str(path.relative_to(folder))] = hashlib.sha256(data).hexdigest()
    return found


def run(*words, **keys):
    return subprocess.run(
        [sys.executable, "-m", "danlu", "data", "prepare", *map(str, words)],
        env=ENV,
        capture_output=True,
        text=True,
        timeout=100,
        **keys,
    )


def test_the_number_of_processes_changes_no_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "BLOCK", 20_000)
    files = [write(tmp_path / "a.jsonl", 400, bad=(3, 390)), write(tmp_path / "b.jsonl", 300, seed=1)]
    for workers in (1, 2, 3):
        keys = {"shard_tokens": 9000, "on_bad_row": "skip", "workers": workers}
        prepare(tmp_path / str(workers), task(files, **keys))
    one = content(tmp_path / "1")
    assert one == content(tmp_path / "2") == content(tmp_path / "3")
    assert sum(name.endswith("tokens.bin") for name in one) > 3
    assert (tmp_path / "1" / "bad.txt").read_text().splitlines() == [
        f"{files[0]}:{line}: text: found a number" for line in (4, 391)
    ]


@pytest.mark.parametrize("kind", ["pretrain", "chat"])
def test_the_size_of_shards_changes_no_sample(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(formats, "BLOCK", 2000)
    files = [write(tmp_path / "a.jsonl", 60) if kind == "pretrain" else chats(tmp_path / "a.jsonl", 60)]
    whole = encoded(files, kind, STARTER, Options(32))
    numbers = np.random.default_rng(0).permutation(len(whole))
    for size in (1, 300, 1 << 27):
        out = tmp_path / str(size)
        store = prepare(out, task(files, kind, shard_tokens=size))
        assert (len(store.shards) > 2) == (size < 1000)
        found = encoded([out], kind, STARTER, Options(32))
        assert (found.places, found.mean_context, found.weighted, found.tally, found.key) == (
            *(whole.places, whole.mean_context, whole.weighted, whole.tally, whole.key),
        )
        assert found.where(found.take(numbers).rows_S[0]) == whole.where(whole.take(numbers).rows_S[0])
        for mine, theirs in zip(found.take(numbers), whole.take(numbers)):
            assert (mine is theirs is None) or mine.tolist() == theirs.tolist()


def test_sums_in_the_manifest_are_those_of_the_arrays(tmp_path):
    store = prepare(tmp_path / "out", task([write(tmp_path / "a.jsonl", 100)]))
    plain = samples.Shard(
        *(getattr(store.shards[0], name) for name in ("tokens", "starts", "lengths", "rows"))
    )
    assert (plain.places, plain.squares) == (store.shards[0].places, store.shards[0].squares)
    assert store.manifest["total"]["tokens"] == plain.places


@given(data=st.data())
@settings(deadline=None, max_examples=10)
def test_whatever_is_lost_is_made_again_by_itself(tmp_path_factory, data):
    """Shards, or the end, or the manifest: what is there stays, the result is the same."""
    folder = tmp_path_factory.mktemp("lost")
    formats.BLOCK, before = 4000, formats.BLOCK
    try:
        files = [write(folder / "a.jsonl", 150)]
        out = folder / "out"
        prepare(out, task(files, shard_tokens=1500))
        whole = content(out)
        shards = sorted(path for path in out.iterdir() if path.is_dir())
        lost = data.draw(st.sets(st.sampled_from(shards), min_size=1))
        kept = {path: (path / "meta.json").stat().st_mtime_ns for path in shards if path not in lost}
        for path in lost:
            damage = data.draw(st.sampled_from(["away", "shorter", "changed"]))
            tokens = path / "tokens.bin"
            if damage == "away":
                for file in path.iterdir():
                    file.unlink()
                path.rmdir()
            else:
                old = tokens.read_bytes()
                tokens.write_bytes(old[:-1] if damage == "shorter" else bytes([old[0] ^ 1]) + old[1:])
        prepare(out, task(files, shard_tokens=1500))
        assert content(out) == whole
        assert {path: (path / "meta.json").stat().st_mtime_ns for path in kept} == kept
    finally:
        formats.BLOCK = before


def test_killed_at_any_moment_and_begun_again_is_never_stopped(tmp_path):
    files = [write(tmp_path / f"{name}.jsonl", 9000, seed=ord(name)) for name in "abc"]
    words = [*files, "--shard-tokens", 300_000, "--workers", 2, "--seq-len", 64]
    assert run(*words, "--out", tmp_path / "never").returncode == 0
    chance = random.Random(0)
    out, killed = tmp_path / "killed", 0
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-m", "danlu", "data", "prepare", *map(str, [*words, "--out", out])],
            env=ENV,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        before = shards(out)
        while shards(out) == before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed > 2 and shards(out) < shards(tmp_path / "never")
    assert run(*words, "--out", out).returncode == 0
    assert content(out) == content(tmp_path / "never")
    assert not [path for path in out.iterdir() if "writing" in path.name or path.name == "begun.json"]


def shards(folder):
    return len(list(folder.glob("[0-9]*")))


def test_two_at_once_make_one_store(tmp_path):
    path = write(tmp_path / "a.jsonl", 3000)
    words = [sys.executable, "-m", "danlu", "data", "prepare", path, "--out", tmp_path / "out"]
    both = [subprocess.Popen(words, env=ENV, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=100)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    prepare(tmp_path / "alone", task([path], seq_len=512))
    assert content(tmp_path / "out") == content(tmp_path / "alone")


def test_other_settings_or_inputs_are_refused_in_an_unfinished_folder(tmp_path):
    path, out = write(tmp_path / "a.jsonl", 50), tmp_path / "out"
    prepare(out, task([path]))
    manifest = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").unlink()
    (out / "begun.json").write_text(json.dumps({k: v for k, v in manifest.items() if k != "shards"}))
    with pytest.raises(UserError, match="was begun with another --seq-len"):
        prepare(out, task([path], seq_len=33))
    with pytest.raises(UserError, match="was begun with another --shard-tokens"):
        prepare(out, task([path], shard_tokens=7))
    with pytest.raises(UserError, match="is not finished"):
        encoded([out], "pretrain", STARTER, Options(32))
    with path.open("a") as file:
        file.write('{"text": "more"}\n')
    with pytest.raises(UserError, match="was begun with another list of files, or their content,"):
        prepare(out, task([path]))


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    path = write(tmp_path / "a.jsonl", 5)
    with pytest.raises(UserError, match="holds other files"):
        prepare(tmp_path, task([path]))
    assert path.exists()


def test_a_bad_row_stops_it_and_skipping_goes_on_from_there(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "BLOCK", 3000)
    path, out = write(tmp_path / "a.jsonl", 200, bad=(150, 170)), tmp_path / "out"
    with pytest.raises(UserError, match=r"a.jsonl:151: text: found a number"):
        prepare(out, task([path], shard_tokens=1000))
    before = {path: (path / "meta.json").stat().st_mtime_ns for path in out.iterdir() if path.is_dir()}
    prepare(out, task([path], shard_tokens=1000, on_bad_row="skip"))
    assert before and {path: (path / "meta.json").stat().st_mtime_ns for path in before} == before
    prepare(tmp_path / "at once", task([path], shard_tokens=1000, on_bad_row="skip"))
    assert content(out) == content(tmp_path / "at once")
    with pytest.raises(UserError, match=r"a.jsonl:151: text: found a number"):
        prepare(out, task([path], shard_tokens=1000))


def test_several_stores_are_one_set_whose_rows_keep_their_names(tmp_path):
    files = [write(tmp_path / f"{name}.jsonl", 20, seed=ord(name)) for name in "ab"]
    for path in files:
        prepare(tmp_path / path.stem, task([path]))
    found = encoded([tmp_path / "a", tmp_path / "b"], "pretrain", STARTER, Options(32))
    whole = encoded(files, "pretrain", STARTER, Options(32))
    everything = np.arange(len(whole))
    assert found.take(everything).tokens_N.tolist() == whole.take(everything).tokens_N.tolist()
    assert found.take(everything).rows_S.tolist() == whole.take(everything).rows_S.tolist()
    assert found.where(found.take(everything[-1:]).rows_S[0]) == f"{files[1]}:20"
    with pytest.raises(UserError, match="is prepared and .* is not"):
        encoded([tmp_path / "a", files[1]], "pretrain", STARTER, Options(32))


def test_a_store_that_does_not_fit_is_refused_with_what_differs(tmp_path):
    out = tmp_path / "out"
    prepare(out, task([chats(tmp_path / "a.jsonl", 5)], "chat"))
    other = Tokenizer(STARTER._json, {"eos_token": "<|endoftext|>"}, STARTER.template)
    template = Tokenizer(STARTER._json, STARTER._settings, STARTER.template + " ")
    assert len(encoded([out], "chat", STARTER, Options(64))) == 4  # one chat weighs nothing
    for message, asked in {
        "for chat, not for pretrain": ("pretrain", STARTER, Options(32)),
        "with another tokenizer than tokenizer": ("chat", other, Options(32)),
        "with another chat template": ("chat", template, Options(32)),
        "has samples of 32 tokens, more than seq_len=31": ("chat", STARTER, Options(31)),
        "with tag_weight=1.0, not 2.0": ("chat", STARTER, Options(32, 2.0)),
    }.items():
        with pytest.raises(UserError, match=message):
            encoded([out], *asked)


@pytest.mark.parametrize("damage", ["cut", "missing", "manifest"])
def test_a_damaged_store_is_named_when_it_is_opened(tmp_path, damage):
    path, out = write(tmp_path / "a.jsonl", 20), tmp_path / "out"
    prepare(out, task([path]))
    if damage == "manifest":
        (out / "manifest.json").write_text((out / "manifest.json").read_text()[:-9])
    else:
        file = out / "00000" / "lengths.bin"
        file.unlink() if damage == "missing" else file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match="manifest.json" if damage == "manifest" else "lengths.bin: is"):
        encoded([out], "pretrain", STARTER, Options(32))


def test_a_thousand_shards_open_at_once(tmp_path):
    out = tmp_path / "out"
    prepare(out, task([write(tmp_path / "a.jsonl", 20)]))
    manifest = json.loads((out / "manifest.json").read_text())
    for number in range(1, 1000):
        (out / f"{number:05d}").symlink_to("00000")
    (out / "manifest.json").write_text(json.dumps(manifest | {"shards": manifest["shards"] * 1000}))
    began = time.process_time()
    found = encoded([out], "pretrain", STARTER, Options(32))
    assert found.places == 1000 * found.shards[0].places and found.mean_context > 0
    assert time.process_time() - began < 1
    maps = resource.getpagesize() and open("/proc/self/maps").read().count(str(out))
    assert maps == 0, "nothing is mapped before it is used"
    assert found.take(np.array([len(found) - 1])).rows_S.tolist() == [19]


def test_the_command_offers_every_kind_and_says_what_it_did(tmp_path):
    (kind,) = (option for option in command.params if option.name == "kind")
    assert list(kind.type.choices) == list(KINDS)
    path = write(tmp_path / "a.jsonl", 30, bad=(7,))
    words = [str(path), "--out", str(tmp_path / "out"), "--on-bad-row", "skip", "--fields", "text=text"]
    told = CliRunner().invoke(command, words, catch_exceptions=False).stderr
    assert "found:" in told and "29 rows" in told and "skipped 1 bad rows, listed in" in told
    assert f"data.train={tmp_path / 'out'}" in told
