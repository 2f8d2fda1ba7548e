"""Encoding: no token lost of a text, no label lost of a chat in silence, weights on true tags only."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.data.encode import Options, Tally, chat, pretrain
from danlu.data.records import Dialogue, Text, Tokens
from danlu.data.rows import row_id
from danlu.data.tags import true_tags
from danlu.tokenizer.chat import encode_chat
from danlu.tokenizer.tokenizer import Tokenizer

STARTER = Tokenizer.load("starter")


def dialogue(*turns, **more):
    messages = [
        {"role": "user" if i % 2 == 0 else "assistant", "content": turn} for i, turn in enumerate(turns)
    ]
    messages[-1] |= more
    return Dialogue(messages)


def encode(kind, records, seq_len, tag_weight=1.0):
    tally = Tally()
    samples = list(kind(STARTER, list(enumerate(records)), Options(seq_len, tag_weight), tally))
    return samples, tally


def read(sample, cut):
    start, length = cut
    return sample.ids[start : start + length], sample.ids[start + 1 : start + length + 1]


@given(st.lists(st.text("ab 你\n", min_size=1, max_size=60), min_size=1, max_size=4), st.integers(1, 20))
@settings(deadline=None)
def test_the_pieces_of_a_text_predict_every_token_after_the_first_once(texts, seq_len):
    samples, tally = encode(pretrain, list(map(Text, texts)), seq_len)
    for sample, text in zip(samples, texts):
        assert sample.ids.tolist() == [1, *STARTER.encode(text), 2]
        pieces = [read(sample, cut) for cut in sample.cuts]
        assert np.concatenate([tokens for tokens, _ in pieces]).tolist() == sample.ids[:-1].tolist()
        assert np.concatenate([labels for _, labels in pieces]).tolist() == sample.ids[1:].tolist()
        assert all(1 <= length <= seq_len for _, length in sample.cuts)
        assert all(length == seq_len for _, length in sample.cuts[:-1])
    assert tally.cut == sum(len(sample.cuts) > 1 for sample in samples)


def test_a_row_decodes_with_begin_and_end():
    (sample,), _ = encode(pretrain, [Text("今天 <|im_end|>")], 64)
    assert STARTER.decode(sample.ids) == "<|im_start|>今天 <|im_end|><|im_end|>"
    assert list(sample.ids).count(2) == 1


some_ids = st.lists(st.integers(0, STARTER.size - 1), min_size=2, max_size=30)


@given(st.lists(some_ids | st.text("ab 你", max_size=30), min_size=1, max_size=5), st.integers(1, 40))
@settings(deadline=None)
def test_ids_that_are_given_stay_as_they_are_among_texts(given_, seq_len):
    records = [Text(each) if isinstance(each, str) else Tokens(each) for each in given_]
    samples, tally = encode(pretrain, records, seq_len)
    assert [sample.row for sample in samples] == list(range(len(records)))
    for sample, each in zip(samples, given_):
        assert sample.ids.tolist() == ([1, *STARTER.encode(each), 2] if isinstance(each, str) else each)
        pieces = [read(sample, cut) for cut in sample.cuts]
        assert np.concatenate([labels for _, labels in pieces]).tolist() == sample.ids[1:].tolist()
    assert tally.cut == sum(len(sample.cuts) > 1 for sample in samples)


@given(some_ids, st.data())
@settings(deadline=None)
def test_of_given_ids_the_first_may_be_only_read(ids, data):
    begin, seq_len = data.draw(st.integers(0, len(ids) - 1)), data.draw(st.integers(1, 40))
    (sample,), _ = encode(pretrain, [Tokens(ids, begin)], seq_len)
    weights = np.ones(len(ids)) if sample.weights is None else sample.weights
    learned = {s + 1 + i for s, length in sample.cuts for i in range(length) if weights[s + 1 + i]}
    assert learned == set(range(max(begin, 1), len(ids)))
    for start, length in sample.cuts:
        assert weights[start + 1 : start + 1 + length].any(), "a piece that teaches nothing is left out"


def test_ids_outside_the_vocabulary_are_named_and_the_row_is_left_to_who_asks():
    with pytest.raises(UserError, match=rf"^error: input_ids\[1\] is {STARTER.size}, and") as error:
        list(pretrain(STARTER, [(row_id(2, 7), Tokens([1, STARTER.size]))], Options(8), Tally()))
    assert "tokenizer" in error.value.hint


def test_a_chat_that_fits_keeps_every_label_and_drops_what_follows_the_last():
    record = dialogue("hi", "hello", "and?", "bye", "unanswered")
    (sample,), tally = encode(chat, [record], 500)
    whole = encode_chat(STARTER, record.messages)
    ((start, length),) = sample.cuts
    assert start == 0 and sample.ids.tolist() == whole.ids
    assert np.flatnonzero(whole.mask)[-1] == length
    assert (tally.end_lost, tally.beginning_lost, tally.labels_lost) == (0, 0, 0)


turns = st.lists(st.text("ab 你", min_size=1, max_size=12).filter(str.strip), min_size=2, max_size=6)


@given(turns, st.integers(1, 60))
@settings(deadline=None)
def test_a_chat_that_is_too_long_is_cut_counted_and_still_teaches(said, seq_len):
    record = dialogue(*said)
    mask = np.array(encode_chat(STARTER, record.messages).mask)
    (sample,), tally = encode(chat, [record], seq_len)
    ((start, length),) = sample.cuts
    kept = mask[start + 1 : start + length + 1]
    assert 0 < length <= seq_len
    assert kept[-1], "the last place that is kept teaches"
    assert mask.sum() - kept.sum() == tally.labels_lost
    fits = int(np.flatnonzero(mask)[-1]) <= seq_len
    assert (tally.end_lost + tally.beginning_lost == 0) == fits == (tally.labels_lost == 0 and start == 0)
    if mask[1 : seq_len + 1].any():
        assert start == 0, "the end is lost rather than the beginning, while that leaves labels"


def test_what_was_cut_is_said():
    samples, tally = encode(
        chat, [dialogue("a" * 90, "b"), dialogue("a", "b" * 90), dialogue("a", "b", loss_mask=0)], 30
    )
    assert len(samples) == 2
    lines = "\n".join(tally.lines(30))
    assert "2 chats are longer than seq_len=30: 1 lost their end, 1 their beginning" in lines
    assert "1 chats teach nothing" in lines
    _, tally = encode(pretrain, [Text("a b c d e f")], 3)
    assert "1 texts are longer than seq_len=3 and were cut" in "\n".join(tally.lines(3))


@pytest.mark.parametrize(
    ("said", "tags"),
    [
        ("<think>\na\n</think>\n<answer>\nb\n</answer>", ["<think>", "</think>", "<answer>", "</answer>"]),
        ("\n<think>a</think>b", ["<think>", "</think>"]),
        ("<answer>b</answer>\n", ["<answer>", "</answer>"]),
        (
            "<think>a <think> b</think><answer></answer></answer>",
            ["<think>", "</think>", "<answer>", "</answer>"],
        ),
        ("plain", []),
        ("the tag <think> opens, </think> closes", []),
        ("<think>never closed", []),
        ("<answer>b</answer> and more", []),
        ("<think>a</think> so <answer>b</answer>", ["<think>", "</think>"]),
    ],
)
def test_true_tags_are_those_that_frame_the_answer(said, tags):
    places = true_tags(said)
    assert [said[start:stop] for start, stop in places] == tags
    assert places == sorted(places)
    if len(tags) == 4:
        assert places[0][0] == said.find("<think>") and places[3][0] == said.rfind("</answer>")


def test_weight_lies_on_the_tokens_of_true_tags_and_nowhere_else():
    """The oracle: spell the answer's tokens, and mark those with a letter of the four tags."""
    said = "<think>\nuse <think> and > here\n</think>\n<answer>\n42 </think>\n</answer>"
    record = dialogue("<think>q</think>", said)
    (sample,), _ = encode(chat, [record], 500, tag_weight=10.0)
    encoded = encode_chat(STARTER, record.messages)
    at = encoded.text.rindex(said)
    letters = np.zeros(len(encoded.text), bool)
    for tag, place in [
        ("<think>", 0),
        ("</think>", said.index("</think>")),
        ("<answer>", said.index("<answer>")),
    ]:
        letters[at + place : at + place + len(tag)] = True
    letters[at + said.rindex("</answer>") : at + len(said)] = True
    for (start, stop), weight, taught in zip(encoded.offsets, sample.weights, encoded.mask):
        assert weight == (0 if not taught else 10 if letters[start:stop].any() else 1)
    assert set(sample.weights) == {0.0, 1.0, 10.0}


def test_weight_of_a_message_and_of_its_tags_multiply():
    record = dialogue("q", "<answer>1</answer>", loss_weight=0.5)
    (sample,), _ = encode(chat, [record], 100, tag_weight=4.0)
    assert set(sample.weights) == {0.0, 0.5, 2.0}
