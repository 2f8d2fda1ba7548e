"""What is remembered changes no id, whatever the text and whichever of the known patterns cuts it."""

from __future__ import annotations

import json
import pickle
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.tokenizer import memo as module
from danlu.tokenizer.memo import CUT, PATTERNS, Memo, can_be_cut
from danlu.tokenizer.tokenizer import Tokenizer

STARTER = Tokenizer.load("starter")
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def changed(**keys) -> Tokenizer:
    return Tokenizer(json.dumps(STARTER.layout | keys), {"eos_token": "<|im_end|>"})


def cutting(pattern: str) -> dict:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, BYTES]}


JOINED = {
    "id": 2048,
    "content": "<tool",
    "single_word": False,
    "lstrip": False,
    "rstrip": False,
    "normalized": False,
    "special": False,
}
TOKENIZERS = {
    "starter": STARTER,
    "composing": changed(normalizer={"type": "NFC"}),
    "gpt2": changed(pre_tokenizer=BYTES | {"use_regex": True}),
    "with a word of its own": changed(added_tokens=[*STARTER.layout["added_tokens"], JOINED]),
    **{f"pattern {i}": changed(pre_tokenizer=cutting(p)) for i, p in enumerate(sorted(PATTERNS))},
}
SIGNS = st.text(st.sampled_from("aZé丹炉々〇１1209 \n\r\t.,'-_\"，。“·\u0301\u0338\u200d😀<|>ſ"))
TEXTS = st.one_of(
    SIGNS,
    st.text(),
    st.lists(st.sampled_from(["it's", " 12", "<tool", "<|im_end|>", " we'LL", "你好，", "  "])).map("".join),
)


@pytest.mark.parametrize("name", TOKENIZERS)
@given(st.lists(TEXTS, max_size=4))
@settings(deadline=None, max_examples=150)
def test_what_is_remembered_changes_no_id(name, texts):
    tokenizer = TOKENIZERS[name]
    assert can_be_cut(tokenizer.layout)
    memo = Memo(tokenizer)
    for _ in range(2):  # the second time from memory
        told = [list(array("H", ids)) for ids in memo.encode(texts)]
        assert told == [tokenizer.encode(text) for text in texts]


def test_text_is_cut_before_signs_that_follow_letters_and_digits():
    assert CUT.split("It's 12,5 丹炉，炼 a") == ["It", "'s", " 12", ",5", " 丹炉", "，炼", " a"]


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": {"type": "Lowercase"}},
        {"pre_tokenizer": cutting(r"\w+\W")},
        {"pre_tokenizer": BYTES},
        {"pre_tokenizer": BYTES | {"use_regex": True, "add_prefix_space": True}},
        {"model": STARTER.layout["model"] | {"dropout": 0.1}},
        {"added_tokens": [*STARTER.layout["added_tokens"], JOINED | {"content": "a b"}]},
        {"added_tokens": [*STARTER.layout["added_tokens"], JOINED | {"rstrip": True}]},
    ],
)
def test_whatever_might_reach_across_a_cut_is_encoded_whole(change):
    assert not can_be_cut(STARTER.layout | change)


def test_a_tokenizer_that_may_not_be_cut_encodes_as_ever():
    tokenizer = changed(pre_tokenizer=BYTES)
    assert [list(array("H", ids)) for ids in Memo(tokenizer).encode(["a b", "丹"])] == [
        tokenizer.encode("a b"),
        tokenizer.encode("丹"),
    ]


def test_memory_stays_flat(monkeypatch):
    monkeypatch.setattr(module, "ROOM", 1000)
    memo = Memo(STARTER)
    for number in range(300):
        (ids,) = memo.encode([f"{number} word{number} " + "x" * 100])
        assert list(array("H", ids)) == STARTER.encode(f"{number} word{number} " + "x" * 100)
        assert sum(map(len, memo._known)) <= 1000


def test_a_tokenizer_survives_a_pickle():
    again = pickle.loads(pickle.dumps(STARTER))
    assert again.fingerprint == STARTER.fingerprint and again.template == STARTER.template
    assert again.encode("a 丹") == STARTER.encode("a 丹")
