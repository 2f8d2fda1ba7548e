"""What a report measures is what encoding and decoding by hand give, and a lossy tokenizer is found out."""

from __future__ import annotations

import json

import pytest
import tokenizers

import tokenizer_kinds as kinds
from danlu.tokenizer.report import kind_of, lines, longest, measure, samples
from danlu.tokenizer.roundtrip import promises
from danlu.tokenizer.tokenizer import Tokenizer

STARTER = kinds.starter()


def altered(change) -> Tokenizer:
    layout = json.loads(STARTER._json)
    change(layout)
    return Tokenizer(json.dumps(layout), STARTER._settings, name="altered")


@pytest.mark.parametrize("name", [name for name in kinds.ALL if name != "wordpiece"])
def test_whoever_can_say_every_byte_passes_every_check(name):
    report = measure(kinds.ALL[name]())
    assert report.promised
    typed = "typed control tokens stay text"
    assert [trip.name for trip in report.failures] == ([typed] if name == "unigram" else [])
    noted = {trip.name for trip in report.trips if trip.note} - {typed}
    assert noted == (
        {"round trip: all planes of Unicode"} if "Metaspace" in kinds.ALL[name]()._json else set()
    )
    assert len(report.trips) > 15


def test_wordpiece_promises_nothing_and_what_is_lost_is_told():
    report = measure(kinds.wordpiece())
    assert not report.promised and not report.failures
    told = "\n".join(lines(report))
    assert "does not promise" in told
    assert "note round trip: emoji" in told and "do not come back" in told
    assert (report.special["bos"], report.special["eos"]) == (2, 3)


def test_sizes_are_counted_text_by_text():
    texts = ["今天天气很好。", "a nice day", "x = f(y); z = {}", "用 Python 写程序", "春天来了"]
    report = measure(STARTER, texts)
    assert {kind: sizes.texts for kind, sizes in report.compression.items()} == {
        "Chinese": 2, "English": 1, "code": 1, "mixed": 1,
    }  # fmt: skip
    ids = [STARTER.encode(text) for text in (texts[0], texts[4])]
    sizes = report.compression["Chinese"]
    assert (sizes.characters, sizes.bytes, sizes.tokens) == (11, 33, sum(map(len, ids)))
    assert sizes.characters_per_token == 11 / sizes.tokens
    assert sizes.bytes_per_token == 33 / sizes.tokens
    used = {number for text in texts for number in STARTER.encode(text)}
    assert report.unused == 1 - len(used) / 2048


def test_many_texts_are_counted_like_few():
    few, many = measure(STARTER, ["a nice day"]), measure(STARTER, ["a nice day"] * 1500)
    assert many.compression["English"].tokens == 1500 * few.compression["English"].tokens
    assert many.unused == few.unused


def test_our_samples_are_of_the_kinds_they_are_filed_under():
    found = list(samples())
    assert [kind for kind, _ in found] == ["Chinese", "English", "code", "mixed"]
    assert [kind_of(text) for _, text in found] == [kind for kind, _ in found]
    assert list(measure(STARTER).compression) == ["Chinese", "English", "code", "mixed"]


def test_the_longest_tokens_are_the_longest():
    shown = longest(STARTER)
    lengths = [STARTER.byte_lengths[i] for i in range(2048)]
    assert [len(text.encode()) for text in shown] == sorted(lengths, reverse=True)[: len(shown)]


def drop_spaces(layout):
    layout["normalizer"] = None
    layout["decoder"] = {
        "type": "Sequence",
        "decoders": [layout["decoder"], {"type": "Replace", "pattern": {"String": "."}, "content": ""}],
    }


def test_a_decoder_that_loses_signs_fails_by_name():
    report = measure(altered(drop_spaces))
    assert "round trip: English" in [trip.name for trip in report.failures]
    assert report.as_dict()["failures"] == [trip.name for trip in report.failures]
    assert any(line.startswith("FAIL round trip: English") for line in lines(report))


def test_a_missing_byte_fails_by_the_characters_it_costs():
    def without(layout):
        first = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str("\x01")[0][0]
        layout["model"]["vocab"]["unused"] = layout["model"]["vocab"].pop(first)

    report = measure(altered(without))
    failed = {trip.name: trip.note for trip in report.failures}
    assert "U+0001" in failed["round trip: all planes of Unicode"]
    assert "U+0001" in failed["round trip: odd signs"]


def test_what_the_tokenizers_own_normalizer_changes_is_no_failure():
    folded = altered(lambda layout: layout.update(normalizer={"type": "NFC"}))
    assert folded.decode(folded.encode("e\u0301")) == "é"
    assert promises(folded) and not measure(folded).failures


def test_a_control_token_that_can_be_typed_is_found():
    def whole(layout):
        layout["model"]["ignore_merges"] = True
        layout["added_tokens"][1]["content"] = "EOS"
        layout["model"]["vocab"]["EOS"] = layout["model"]["vocab"].pop("<|im_start|>")

    report = measure(Tokenizer(json.dumps(_with(whole)), {"eos_token": "<|im_end|>"}))
    assert [(trip.name, trip.note) for trip in report.failures] == [
        ("typed control tokens stay text", "EOS can be typed")
    ]


@pytest.mark.parametrize("name", ["a", "in", "Ġthe"])
def test_only_control_tokens_that_can_be_typed_are_named(name):
    def also(layout):
        vocab, size = layout["model"]["vocab"], len(layout["model"]["vocab"])
        number = vocab.setdefault(name, size)
        layout["added_tokens"].append({**layout["added_tokens"][0], "id": number, "content": name})

    report = measure(altered(also))
    assert [(trip.name, trip.note) for trip in report.failures] == [
        ("typed control tokens stay text", f"{name} can be typed")
    ]


def _with(change):
    layout = json.loads(STARTER._json)
    change(layout)
    return layout
