"""The cache: encoded once for the same input, again for any other, by one process at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from danlu.base.errors import UserError
from danlu.data import formats, progress
from danlu.data.encode import Options
from danlu.data.encoded import encoded
from danlu.data.formats import Reading
from danlu.data.parts import BlockEncoder
from danlu.data.sources import Source
from danlu.data.store import Task, fill, fingerprint
from danlu.data.stream import open_stream
from danlu.tokenizer.tokenizer import Tokenizer

STARTER = Tokenizer.load("starter")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "encoded"


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"text {'ab ' * (i % 7)}{i}"}) for i in range(50)))
    return path


@pytest.fixture
def chats(tmp_path):
    path = tmp_path / "chats.jsonl"
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "<think>a</think>b"}]
    path.write_text("\n".join(json.dumps({"messages": talk}) for _ in range(5)))
    return path


def folders(cache):
    return sorted(path for path in cache.iterdir() if path.is_dir()) if cache.exists() else []


def test_what_is_read_from_the_cache_is_what_was_encoded(texts, cache, capsys):
    first = encoded([texts], "pretrain", STARTER, Options(16))
    assert "found: pretrain, 50 rows" in capsys.readouterr().err
    before = (folders(cache)[0] / "manifest.json").stat().st_mtime_ns
    second = encoded([texts], "pretrain", STARTER, Options(16))
    assert "found: pretrain, 50 rows" in capsys.readouterr().err
    assert (folders(cache)[0] / "manifest.json").stat().st_mtime_ns == before
    assert first.shards[0].tokens.tolist() == second.shards[0].tokens.tolist() and first.key == second.key
    assert (
        STARTER.decode(first.shards[0].tokens[: first.shards[0].starts[1]]) == "<|im_start|>text 0<|im_end|>"
    )
    assert first.where(first.shards[0].rows[-1]) == f"{texts}:50"


def test_anything_that_changes_the_result_makes_another_entry(texts, chats, cache, tmp_path):
    more = tmp_path / "more.jsonl"
    more.write_text('{"text": "more", "body": "other"}')
    other_key, by_paragraph = Reading({"text": "body"}), Reading(text_by="paragraph")
    other = Tokenizer(STARTER._json, {"eos_token": "<|endoftext|>"})
    template = Tokenizer(STARTER._json, {"eos_token": "<|im_end|>"}, STARTER.template + " ")
    keys = [
        encoded([texts], "pretrain", STARTER, Options(16)).key,
        encoded([texts], "pretrain", STARTER, Options(17)).key,
        encoded([texts], "pretrain", other, Options(16)).key,
        encoded([texts, more], "pretrain", STARTER, Options(16)).key,
        encoded([more, texts], "pretrain", STARTER, Options(16)).key,
        encoded([more], "pretrain", STARTER, Options(16), other_key).key,
        encoded([more], "pretrain", STARTER, Options(16), by_paragraph).key,
        encoded([more], "pretrain", STARTER, Options(16), on_bad_row="skip").key,
        encoded([chats], "chat", STARTER, Options(16)).key,
        encoded([chats], "chat", STARTER, Options(16, 10.0)).key,
        encoded([chats], "chat", template, Options(16)).key,
    ]
    texts.write_text(texts.read_text().replace("text 0", "text 1"))
    keys.append(encoded([texts], "pretrain", STARTER, Options(16)).key)
    assert len(set(keys)) == len(keys) == len(folders(cache))


def test_the_same_bytes_elsewhere_are_the_same_entry_with_their_own_name(texts, tmp_path, cache):
    encoded([texts], "pretrain", STARTER, Options(16))
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(texts.read_bytes())
    assert encoded([copy], "pretrain", STARTER, Options(16)).where(0) == f"{copy}:1"
    assert len(folders(cache)) == 1


@pytest.mark.parametrize("damage", ["00000/tokens.bin", "manifest.json", "missing"])
def test_a_damaged_entry_is_made_again(texts, cache, damage):
    whole = encoded([texts], "pretrain", STARTER, Options(16)).shards[0].tokens.tolist()
    (folder,) = folders(cache)
    if damage == "missing":
        (folder / "00000" / "starts.bin").unlink()
    else:
        (folder / damage).write_bytes((folder / damage).read_bytes()[:-10])
    assert encoded([texts], "pretrain", STARTER, Options(16)).shards[0].tokens.tolist() == whole


def test_a_bad_row_leaves_nothing_half_made(texts, cache):
    texts.write_text(texts.read_text() + '\n{"text": 3}')
    with pytest.raises(UserError, match=r"texts.jsonl:51: text: found a number"):
        encoded([texts], "pretrain", STARTER, Options(16))
    assert folders(cache) == []


def test_a_file_without_a_row_is_refused_and_leaves_nothing(tmp_path, cache):
    path = tmp_path / "b.jsonl"
    path.write_text("\n \n")
    with pytest.raises(UserError, match=r"b.jsonl: holds no row") as error:
        encoded([path], "pretrain", STARTER, Options(16))
    assert error.value.hint and folders(cache) == []


def test_a_file_that_lost_its_rows_meanwhile_makes_no_store(tmp_path):
    path = tmp_path / "b.jsonl"
    path.write_text('{"text": "a"}\n')
    task = Task(Source([path], "pretrain"), BlockEncoder("pretrain", STARTER, Options(16), Reading()))
    path.write_text("\n \n")
    with pytest.raises(UserError, match=r"b.jsonl: holds no row"):
        fill(tmp_path / "store", task, task.described())
    assert not (tmp_path / "store").exists()


@pytest.fixture
def bad(texts):
    """Seven bad rows among the good ones."""
    lines = texts.read_text().splitlines()
    for number in (3, 10, 11, 20, 30, 40, 45):
        lines[number] = '{"text": 3}' if number % 2 else "{"
    texts.write_text("\n".join(lines))
    return texts


def test_the_first_bad_row_is_refused_and_what_lists_them_is_named(bad):
    with pytest.raises(UserError, match=r"texts.jsonl:4: text: found a number") as error:
        encoded([bad], "pretrain", STARTER, Options(16))
    assert "'danlu data check' lists all" in error.value.hint


def test_bad_rows_are_skipped_if_so_wished_and_told_each_time(bad, cache, capsys):
    made = encoded([bad], "pretrain", STARTER, Options(16), on_bad_row="skip")
    assert made.bad == 7 and made.tally.rows == 43 and made.shapes.total() == 43
    told = capsys.readouterr().err
    assert [line.split(":")[2] for line in told.splitlines() if line.startswith("skipped: ")] == [
        *("4", "11", "12", "21", "31")
    ]
    assert f"{bad}: skipped 7 bad rows, e.g. {bad}:4: text: found a number" in told
    listed = (folders(cache)[0] / "bad.txt").read_text().splitlines()
    assert [line.split(":")[1] for line in listed] == ["4", "11", "12", "21", "31", "41", "46"]
    whole = [text for text in map(rows_text, bad.read_text().splitlines()) if text]
    rows = [STARTER.decode(t, control=False) for t in taken_whole(made)]
    assert rows == whole
    again = encoded([bad], "pretrain", STARTER, Options(16), on_bad_row="skip")
    told = capsys.readouterr().err
    assert "skipped 7 bad rows, e.g." in told and "skipped: " not in told and again.bad == 7


def rows_text(line):
    try:
        text = json.loads(line)["text"]
    except ValueError:
        return None
    return text if isinstance(text, str) else None


def taken_whole(samples):
    """Return the tokens of every row, its pieces put together again."""
    taken = samples.take(np.arange(len(samples)))
    each = np.split(taken.labels_N, np.cumsum(taken.lengths_S)[:-1])
    return [
        np.concatenate([e for e, r in zip(each, taken.rows_S) if r == row]) for row in np.unique(taken.rows_S)
    ]


def test_a_chat_that_no_template_renders_is_named_by_its_line(tmp_path):
    path = tmp_path / "x.jsonl"
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    strange = [{"role": "user", "content": "boo"}, talk[1]]
    path.write_text("\n".join(json.dumps({"messages": m}) for m in [talk, talk, strange, talk]))
    template = (
        "{% if messages[0].content == 'boo' %}{{ raise_exception('no') }}{% endif %}" + STARTER.template
    )
    tokenizer = Tokenizer(STARTER._json, {"eos_token": "<|im_end|>"}, template)
    with pytest.raises(UserError, match=r"x.jsonl:3: the chat template refuses this chat: no"):
        encoded([path], "chat", tokenizer, Options(64))
    made = encoded([path], "chat", tokenizer, Options(64), on_bad_row="skip")
    assert len(made) == 3 and made.bad == 1 and made.tally.rows == 3


def test_an_interrupted_entry_is_gone_on_with(texts, cache, monkeypatch):
    monkeypatch.setattr(formats, "BLOCK", 300)
    whole = encoded([texts], "pretrain", STARTER, Options(16))
    (folder,) = folders(cache)
    aside = folder.with_name(folder.name + ".making")
    folder.rename(aside)
    (aside / "manifest.json").unlink()
    before = (aside / "00000" / "tokens.bin").stat().st_mtime_ns
    again = encoded([texts], "pretrain", STARTER, Options(16))
    assert (folder / "00000" / "tokens.bin").stat().st_mtime_ns == before and folders(cache) == [folder]
    assert again.shards[0].tokens.tolist() == whole.shards[0].tokens.tolist()


def test_a_cache_that_cannot_be_written_is_named(texts, tmp_path, monkeypatch):
    monkeypatch.setenv("DANLU_CACHE", str(texts / "cache"))
    with pytest.raises(UserError, match="texts.jsonl/cache") as error:
        encoded([texts], "pretrain", STARTER, Options(16))
    assert "DANLU_CACHE" in error.value.hint


def test_two_processes_make_one_entry(texts, tmp_path, cache):
    code = (
        "import sys\n"
        "from danlu.data.encoded import encoded; from danlu.data.encode import Options\n"
        "from danlu.tokenizer.tokenizer import Tokenizer\n"
        "print(encoded([sys.argv[1]], 'pretrain', Tokenizer.load(), Options(16)).shards[0].tokens.sum())\n"
    )
    env = {**os.environ, "PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, texts]
    both = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate(timeout=100)[0] for process in both]
    assert answers[0] == answers[1] != ""
    assert len(folders(cache)) == 1


def test_weights_are_kept_as_a_table(chats):
    made = encoded([chats], "chat", STARTER, Options(64, 10.0))
    assert set(made.shards[0].table) == {0.0, 1.0, 10.0}
    assert made.shards[0].codes.dtype == np.uint8 and len(made.shards[0].codes) == len(made.shards[0].tokens)


def test_more_weights_than_the_table_holds_are_refused(tmp_path):
    path = tmp_path / "x.jsonl"
    ask = {"role": "user", "content": "q"}
    rows = [[ask, {"role": "assistant", "content": "a", "loss_weight": 1 + i / 512}] for i in range(300)]
    path.write_text("\n".join(json.dumps({"messages": row}) for row in rows))
    with pytest.raises(UserError, match="more than 256 different loss weights"):
        encoded([path], "chat", STARTER, Options(64))


def test_chats_that_teach_nothing_are_left_out_and_said(tmp_path, capsys):
    path = tmp_path / "x.jsonl"
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "loss_mask": 0}]
    path.write_text(json.dumps({"messages": talk}))
    with pytest.raises(UserError, match="there is nothing to learn in 1 rows"):
        encoded([path], "chat", STARTER, Options(64))
    assert "1 chats teach nothing" in capsys.readouterr().err


def test_a_fingerprint_is_remembered_but_not_beyond_a_change(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"one")
    first = fingerprint(path)
    path.write_bytes(b"two")  # at once, the same size
    assert fingerprint(path) != first
    old = time.time() - 100
    os.utime(path, (old, old))
    second = fingerprint(path)
    memos = list((tmp_path / "cache" / "fingerprints").iterdir())
    assert [memo.read_text() for memo in memos] == [second] and fingerprint(path) == second
    path.write_bytes(b"six")
    assert fingerprint(path) not in (first, second)


def test_progress_is_told_while_encoding_takes_long(texts, monkeypatch, capsys):
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    encoded([texts], "pretrain", STARTER, Options(16))
    assert "encoding: 50 rows" in capsys.readouterr().err


def test_a_stream_of_files_packs_pads_and_names_its_rows(texts, chats):
    keys = {"seq_len": 32, "batch_tokens": 128, "micro_batch": 2, "epochs": 1}
    packed, padded = (open_stream([texts], "pretrain", STARTER, packing=p, **keys) for p in (True, False))

    def samples(stream):
        return sorted(
            tuple(batch.tokens_BT[batch.samples_BT == number].tolist())
            for step in stream
            for batch in step
            for number in range(batch.num_samples)
        )

    assert padded.total_steps > packed.total_steps
    assert samples(packed) == samples(padded)
    ((batch, *_),) = list(open_stream([chats], "chat", STARTER, tag_weight=10.0, **keys))
    assert packed.where(batch.rows[0]).startswith(str(texts))
    assert batch.weights_BT.max() == 10 and (batch.weights_BT > 0).sum() == batch.count


def test_a_step_smaller_than_a_row_is_refused(texts):
    with pytest.raises(UserError, match="batch_tokens: 31 is less than one row of seq_len=32"):
        open_stream([texts], "pretrain", STARTER, seq_len=32, batch_tokens=31, micro_batch=1)


@pytest.mark.parametrize("questions_at", [(), (0,), (2,), (0, 1, 2), (1,)])
def test_rows_with_and_without_weights_lie_side_by_side(tmp_path, questions_at):
    """The oracle: where each label stands in its row, and how many ids of the row are only read."""
    rows = [{"input_ids": list(range(10 * i, 10 * i + 6)), "seq_len": 6} for i in range(1, 4)]
    for number in questions_at:
        rows[number]["seq_len"] = 3
    path = tmp_path / "tokens.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    taken = encoded([path], "pretrain", STARTER, Options(16)).take(np.arange(3))
    assert taken.tokens_N.tolist() == [token for row in rows for token in row["input_ids"][:-1]]
    wanted = [float(place >= row["seq_len"] % 6) for row in rows for place in range(1, 6)]
    assert (wanted if taken.weights_N is None else taken.weights_N.tolist()) == wanted
