"""Rows that are read on the way: from any place, with bad ones told or skipped, and only what is needed."""

from __future__ import annotations

import functools
import gzip
import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest

from corpus import chats, texts
from danlu.base.errors import UserError
from danlu.data import streamed as streaming
from danlu.data.encode import Options
from danlu.data.encoded import encoded
from danlu.data.formats import Reading
from danlu.data.parts import BlockEncoder
from danlu.data.prepared import prepare
from danlu.data.sources import Source
from danlu.data.store import Task
from danlu.data.stream import Stream, open_stream
from danlu.data.streamed import Encoding, Streamed
from danlu.data.supply import Clock, Mapped
from danlu.tokenizer.tokenizer import Tokenizer

STARTER = Tokenizer.load("starter")
KEYS = {"seq_len": 32, "rows_per_step": 4, "micro_batch": 2, "prefetch": 0}


def supply(paths, kind="pretrain", seq_len=32, on_bad_row="refuse", reading=None, **keys):
    encoding = Encoding(BlockEncoder(kind, STARTER, Options(seq_len, 3.0), reading or Reading()), on_bad_row)
    return Streamed(paths, encoding, **{"seed": 0, **keys})


def samples_of(steps):
    """Return every sample with its record's number, counted."""
    found = Counter()
    for step in steps:
        for batch in step:
            for number in range(batch.num_samples):
                found[tuple(batch.tokens_BT[batch.samples_BT == number].tolist())] += 1
    return found


def told(step):
    return [
        (batch.tokens_BT.tolist(), batch.labels_BT.tolist(), batch.rows)
        + (() if batch.weights_BT is None else (batch.weights_BT.tolist(),))
        for batch in step
    ]


@pytest.mark.parametrize("kind", ["pretrain", "chat"])
def test_streamed_is_what_mapped_is(kind, tmp_path, monkeypatch):
    """Tokens, labels, weights, names of rows; unshuffled and a sample a row: in the order of the files."""
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path))
    make = texts if kind == "pretrain" else functools.partial(chats, thinking=True)
    paths = [make(tmp_path / "a.jsonl", 30, seed=1), make(tmp_path / "b.jsonl", 50, seed=2)]
    mapped = Mapped(encoded(paths, kind, STARTER, Options(128, 3.0)), 0, shuffle=False)
    assert mapped.weighted == (kind == "chat")
    keys = {**KEYS, "seq_len": 128, "packing": False, "epochs": 2}
    one, two = Stream(mapped, **keys), Stream(supply(paths, kind, seq_len=128, shuffle=False), **keys)
    assert [told(step) for step in one] == [told(step) for step in two]


def test_compressed_rows_go_on_where_they_stopped(tmp_path):
    plain = texts(tmp_path / "a.jsonl", 400)
    packed = tmp_path / "b.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))

    def opened(path):
        return Stream(supply([path], window=50), **KEYS, epochs=2)

    whole = [told(step) for step in opened(plain)]
    first = opened(packed)
    before = [told(next(first)) for _ in range(len(whole) // 3)]
    second = opened(packed)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert before + [told(step) for step in second] == whole


def test_a_text_of_many_windows_is_cut_by_a_stop_and_loses_nothing(tmp_path):
    path = tmp_path / "long.jsonl"
    path.write_text(
        json.dumps({"text": " ".join(map(str, range(5000)))}) + "\n" + json.dumps({"text": "end"})
    )
    made = supply([path], seq_len=16, window=7)
    keys = {**KEYS, "seq_len": 16, "epochs": 1}
    whole = [told(step) for step in Stream(made, **keys)]
    for stop in range(0, len(whole), 97):
        first = Stream(made, **keys)
        for _ in range(stop):
            next(first)
        assert stop == 0 or first.state_dict()["cursor"]["position"]["cut"] > 0
        second = Stream(made, **keys)
        second.load_state_dict(first.state_dict())
        assert told(next(second)) == whole[stop]


def test_going_on_reads_a_window_and_not_what_was_before(tmp_path, monkeypatch):
    path = texts(tmp_path / "a.jsonl", 3000)
    made = supply([path], window=64)
    windows = made.windows(made.start(), Clock())
    position = [next(windows).after for _ in range(40)][-1]
    monkeypatch.setattr(streaming, "TOGETHER", 32)
    read = []
    monkeypatch.setattr(made.source, "error", None)
    found = made.source.found
    monkeypatch.setattr(made.source, "found", lambda *at: (read.append(each) or each for each in found(*at)))
    next(made.windows(position, Clock()))
    assert 1 < len(read) <= 64 + 2 * 32  # rows; each gives a sample or more
    assert read[0].place.offset == position["offset"] > 100_000


def test_a_row_on_one_line_with_others_is_found_again(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"text": f"row {number} " * 9} for number in range(60)]))
    made = supply([path], window=7)
    whole = [told(step) for step in Stream(made, **KEYS, epochs=1)]
    first = Stream(made, **KEYS, epochs=1)
    before = [told(next(first)) for _ in range(3)]
    second = Stream(made, **KEYS, epochs=1)
    second.load_state_dict(first.state_dict())
    assert before + [told(step) for step in second] == whole
    assert sum(samples_of(Stream(made, **KEYS, epochs=1)).values()) == sum(
        samples_of(Stream(supply([path], shuffle=False), **KEYS, epochs=1)).values()
    )


def with_bad_rows(folder: Path) -> tuple[Path, Path]:
    lines = texts(folder / "good.jsonl", 40).read_text().splitlines()
    random.Random(0).shuffle(lines)
    (folder / "good.jsonl").write_text("\n".join(lines) + "\n")
    lines[7:7] = ["{broken"]
    lines[20:20] = ['{"text": 7}', "[]"]
    (folder / "bad.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "good.jsonl", folder / "bad.jsonl"


def test_a_bad_row_is_refused_with_its_line_or_skipped_and_counted(tmp_path, capsys):
    good, bad = with_bad_rows(tmp_path)
    with pytest.raises(UserError, match=r"bad\.jsonl:8: not valid JSON") as error:
        list(Stream(supply([bad]), **KEYS, epochs=1))
    assert error.value.hint
    left = Stream(supply([bad], on_bad_row="skip"), **KEYS, epochs=1)
    assert samples_of(left) == samples_of(Stream(supply([good]), **KEYS, epochs=1))
    said = capsys.readouterr().err
    assert [line for line in (8, 21, 22) if f"skipped: {bad}:{line}: " in said] == [8, 21, 22]


def test_a_row_that_cannot_be_encoded_is_refused_with_its_line_or_skipped(tmp_path, capsys):
    good = texts(tmp_path / "good.jsonl", 20)
    bad = tmp_path / "bad.jsonl"
    lines = good.read_text().splitlines()
    bad.write_text("\n".join([*lines[:5], '{"input_ids": [1, 9999999]}', *lines[5:]]) + "\n")
    with pytest.raises(UserError, match=r"bad\.jsonl:6: input_ids\[1\] is 9999999"):
        list(Stream(supply([bad]), **KEYS, epochs=1))
    left = Stream(supply([bad], on_bad_row="skip"), **KEYS, epochs=1)
    assert samples_of(left) == samples_of(Stream(supply([good]), **KEYS, epochs=1))
    assert f"skipped: {bad}:6: input_ids[1] is 9999999" in capsys.readouterr().err


def told_of(path, capsys):
    """Return the lines of the bad rows that were said, and the counts."""
    said = capsys.readouterr().err
    lines = [int(line) for line in re.findall(rf"skipped: {re.escape(str(path))}:(\d+): ", said)]
    return lines, re.findall(r"([\d,]+) bad rows were skipped", said)


def test_each_skipped_row_is_said_once_however_often_it_is_read(tmp_path, capsys):
    good = texts(tmp_path / "good.jsonl", 120).read_text().splitlines()
    path = tmp_path / "bad.jsonl"
    path.write_text("".join(f"{line}\n{{broken\n" for line in good))
    keys = {**KEYS, "epochs": 2}

    def opened():
        return Stream(supply([path], on_bad_row="skip", window=16), **keys)

    whole = opened()
    assert whole.mean_context > 0
    assert told_of(path, capsys) == ([], [])  # a look is no reading
    first_windows = opened()
    for _ in range(4):
        next(first_windows)
    state = first_windows.state_dict()
    assert state["cursor"]["row"] > 0
    assert state["cursor"]["position"]["offset"] > 0
    before, _ = told_of(path, capsys)
    assert before == list(range(2, 2 + 2 * len(before), 2))
    list(whole)
    assert told_of(path, capsys) == ([2, 4, 6, 8, 10], ["10", "100", "120"])

    again = opened()
    again.load_state_dict(state)
    next(again)
    more, _ = told_of(path, capsys)
    assert not set(more) & set(before)


def test_what_texts_lose_is_said_when_an_epoch_ends_or_the_run_does(tmp_path, capsys):
    paths = [texts(tmp_path / "a.jsonl", 100)]
    list(Stream(supply(paths, seq_len=8), **{**KEYS, "seq_len": 8}, epochs=2))
    said = capsys.readouterr().err
    assert said.count("texts are longer than seq_len=8") == 1
    mapped_rows = [len(STARTER.encode(json.loads(line)["text"])) + 1 for line in paths[0].open()]
    assert f"{sum(size > 8 for size in mapped_rows):,} texts are longer" in said
    assert f" {sum(mapped_rows):,} tokens" in said
    short = Stream(supply(paths, seq_len=8, window=4), **{**KEYS, "seq_len": 8})
    next(short)
    assert "longer" not in capsys.readouterr().err
    short.close()
    assert "texts are longer than seq_len=8" in capsys.readouterr().err


def test_a_chat_that_cannot_be_rendered_is_named(tmp_path, capsys):
    good = chats(tmp_path / "good.jsonl", 6)
    odd = {"conversations": [{"role": "assistant", "content": "x", "tool_calls": '[{"name": 7}]'}]}
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps(odd) + "\n" + good.read_text())
    with pytest.raises(UserError, match=r"bad\.jsonl:1: "):
        list(Stream(supply([bad], "chat"), **KEYS, epochs=1))
    left = Stream(supply([bad], "chat", on_bad_row="skip"), **KEYS, epochs=1)
    assert samples_of(left) == samples_of(Stream(supply([good], "chat"), **KEYS, epochs=1))


def test_the_key_sees_what_changed_and_not_how_it_was_written(tmp_path):
    path = texts(tmp_path / "a.jsonl", 2000)
    ones, others = Reading({"text": "body", "x": "y"}), Reading({"x": "y", "text": "body"})
    key = supply([path], reading=ones).identity["data"]
    assert supply([path], reading=others).identity["data"] == key
    raw = path.read_bytes()
    middle = len(raw) // 2
    assert middle > streaming.GLIMPSE
    path.write_bytes(raw[:middle] + bytes([raw[middle] ^ 1]) + raw[middle + 1 :])
    assert supply([path], reading=ones).identity["data"] != key


def test_a_prepared_folder_is_used_as_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path / "cache"))
    path = texts(tmp_path / "a.jsonl", 40)
    encoder = BlockEncoder("pretrain", STARTER, Options(32), Reading())
    prepare(tmp_path / "prepared", Task(Source([path], "pretrain"), encoder))
    keys = {"seq_len": 32, "batch_tokens": 128, "micro_batch": 1, "epochs": 1, "prefetch": 0}
    steps = open_stream([tmp_path / "prepared"], "pretrain", STARTER, streamed=True, **keys)
    assert samples_of(steps) == samples_of(open_stream([path], "pretrain", STARTER, **keys))
    assert "is encoded already" in capsys.readouterr().err


def test_nothing_but_bad_rows_is_said_instead_of_read_for_ever(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text("{\n" * 10)
    with pytest.raises(UserError, match="nothing to learn"):
        next(Stream(supply([path], on_bad_row="skip"), **KEYS))


def test_keys_may_be_renamed(tmp_path):
    ours = texts(tmp_path / "ours.jsonl", 20)
    theirs = tmp_path / "theirs.jsonl"
    theirs.write_text(ours.read_text().replace('"text":', '"body":'))
    renamed = supply([theirs], reading=Reading({"text": "body"}))
    assert samples_of(Stream(renamed, **KEYS, epochs=1)) == samples_of(
        Stream(supply([ours]), **KEYS, epochs=1)
    )


def test_neighbours_are_shuffled_anew_each_epoch(tmp_path):
    made = supply([texts(tmp_path / "a.jsonl", 40)])
    keys = {**KEYS, "rows_per_step": 10**3, "micro_batch": 10**3, "packing": False}
    both = (
        [told(step) for step in Stream(made, **keys, epochs=1)],
        [told(step) for step in Stream(made, **keys, epochs=1)],
    )
    assert both[0] == both[1]
    windows = made.windows(made.start(), Clock())
    orders = [next(windows).numbers_S.tolist() for _ in range(2)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(len(orders[0])))
    assert orders[0] != orders[1] != sorted(orders[1])


@pytest.mark.parametrize("change", ["longer", "other tokenizer", "other length"])
def test_a_state_of_other_files_is_refused(change, tmp_path):
    path = texts(tmp_path / "a.jsonl", 40)
    state = Stream(supply([path]), **KEYS).state_dict()
    made = supply([path], seq_len=31 if change == "other length" else 32)
    if change == "longer":
        path.write_text(path.read_text() + '{"text": "more"}\n')
        made = supply([path])
    if change == "other tokenizer":
        made.identity["data"] = supply([path], kind="chat").identity["data"]
    with pytest.raises(UserError, match="stands in other data"):
        Stream(made, **KEYS).load_state_dict(state)


def test_accepted_changes_begin_the_data_afresh_at_the_same_step(tmp_path, capsys):
    first = Stream(supply([texts(tmp_path / "a.jsonl", 40)]), **KEYS)
    for _ in range(3):
        next(first)
    other = supply([texts(tmp_path / "b.jsonl", 40, seed=9)])
    second = Stream(other, **KEYS, accept_changes=True)
    second.load_state_dict(first.state_dict())
    assert told(next(second)) == told(next(Stream(other, **KEYS)))
    assert second.state_dict()["cursor"]["step"] == 4
    assert "the data begins afresh" in capsys.readouterr().err


def test_epochs_of_streamed_data_need_steps_to_be_said(tmp_path):
    path = texts(tmp_path / "a.jsonl", 40)
    keys = {"seq_len": 32, "batch_tokens": 128, "micro_batch": 1, "streamed": True}
    with pytest.raises(UserError, match="steps: is not set") as error:
        open_stream([path], "pretrain", STARTER, epochs=1, **keys)
    assert "steps=N" in error.value.hint
    endless = open_stream([path], "pretrain", STARTER, **keys)
    for _ in range(50):
        next(endless)
    assert endless.epoch >= 1
    endless.close()
