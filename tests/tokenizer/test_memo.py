"""What is remembered changes no id, whatever the text and whichever of the known patterns cuts it."""

from __future__ import annotations

import functools
import json
import pickle
import random
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.tokenizer import memo as module
from danlu.tokenizer.memo import PATTERNS, Memo, can_be_cut, spelled
from danlu.tokenizer.seams import Seams
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
    "with words of its own": changed(
        added_tokens=[
            *STARTER.layout["added_tokens"],
            JOINED,
            JOINED | {"id": 2049, "content": "丹炉火"},
        ]
    ),
    "words taken whole": changed(model=STARTER.layout["model"] | {"ignore_merges": True}),
    **{f"pattern {i}": changed(pre_tokenizer=cutting(p)) for i, p in enumerate(sorted(PATTERNS))},
}


@functools.cache
def remembering(name: str) -> Memo:
    return Memo(TOKENIZERS[name])


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
    memo = remembering(name)
    for _ in range(2):  # the second time from memory
        told = [list(array("H", ids)) for ids in memo.encode(texts)]
        assert told == [tokenizer.encode(text) for text in texts]


def test_text_is_cut_where_kinds_change_and_where_no_token_reaches_across():
    pieces = ["It", "'s", " 12", ",5", "a", " 丹炉", "，炼", " a", "é1"]
    assert Seams().cut(["It's 12,5a 丹炉，炼 a", "", "é1"]) == (pieces, [8, 8, 9])
    seams = Seams(["丹炉".encode(), "火".encode() + b"\xe4", b"\x89\x88" + "炉".encode(), b"a"])
    assert seams.cut(["炼丹炉火一炼炉，炼"]) == (["炼", "丹炉", "火一", "炼炉", "，", "炼"], [6])


def test_a_letter_of_the_alphabet_stands_for_the_byte_the_library_takes_it_for():
    plain = changed(model=STARTER.layout["model"] | {"merges": []})
    for letter, byte in spelled().items():
        if byte < 0x80:
            assert plain.encode(chr(byte)) == [plain.token_id(letter)]
    assert [plain.token_id(letter) for letter, byte in spelled().items() if byte in "炉".encode()]
    letters = {byte: letter for letter, byte in spelled().items()}
    assert plain.encode("炉é") == [plain.token_id(letters[byte]) for byte in "炉é".encode()]


def learned(text: str) -> Tokenizer:
    """Return a tokenizer that learned a text by heart, from its bytes to all of it."""
    layout = json.loads(STARTER._json)
    vocab = {letter: number for number, letter in enumerate(spelled())}
    letters = {byte: letter for letter, byte in spelled().items()}
    made = [letters[byte] for byte in text.encode()]
    merges = []
    dice = random.Random(text)
    while len(made) > 1:
        at = dice.randrange(len(made) - 1)
        merges.append([made[at], made[at + 1]])
        made[at : at + 2] = [made[at] + made[at + 1]]
        vocab.setdefault(made[at], len(vocab))
    vocab["<|im_end|>"] = len(vocab)
    end = JOINED | {"id": vocab["<|im_end|>"], "content": "<|im_end|>", "special": True}
    model = layout["model"] | {"vocab": vocab, "merges": merges}
    return Tokenizer(
        json.dumps(layout | {"model": model, "added_tokens": [end]}), {"eos_token": "<|im_end|>"}
    )


PHRASE = st.text(st.sampled_from("丹炉火一丁七万丈三上下不，。…"), min_size=1, max_size=12)


@given(PHRASE, st.lists(PHRASE, max_size=5))
@settings(deadline=None, max_examples=60)
def test_pieces_are_put_together_as_merging_the_whole_would(told, texts):
    tokenizer = learned(told)
    memo = Memo(tokenizer)
    texts = [*texts, told, told[::-1], *(text + told for text in texts)]
    assert [list(array("H", ids)) for ids in memo.encode(texts)] == [tokenizer.encode(text) for text in texts]


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
