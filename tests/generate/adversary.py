"""An answerer without a model: it draws among the words that a constraint allows, as unkindly as asked.

answer(grammar, left, random.Random(0))                      any word, all alike
answer(grammar, left, random.Random(0), likes="{[")          mostly words that hold one of these
"""

from __future__ import annotations

import functools
import json
import random
from typing import Any

import numpy as np

from danlu.generate.grammar import Grammar
from danlu.generate.grammar.vocabulary import spellings
from danlu.tokenizer.tokenizer import Tokenizer

STARTER = Tokenizer.load("starter")
UNKIND = ["", '{["', "[{", '":,', "\\0123456789.eE-", " \n", "\xe4\xf0\xe5"]

spelled = functools.cache(spellings)


def allowed(constraint: Any, tokenizer: Tokenizer = STARTER) -> list[int]:
    """Return the words a constraint allows, read from more bits than there are words."""
    bits = np.full(-(-tokenizer.size // 32) + 2, -1, dtype=np.int32)
    constraint.fill(bits)
    found = np.flatnonzero(np.unpackbits(bits.view(np.uint8), bitorder="little")).tolist()
    assert not found or found[-1] < tokenizer.size
    return found


def tokens(
    grammar: Grammar, left: int, draw: random.Random, likes: str = "", tokenizer: Tokenizer = STARTER
) -> list[int]:
    """Return the words of an answer of at most `left`, its end token not among them."""
    ends = {tokenizer.eos_id, tokenizer.pad_id}
    constraint, said = grammar.begin(left), []
    while not constraint.finished:
        words = allowed(constraint, tokenizer)
        assert words, f"nothing may follow {tokenizer.decode(said)!r}"
        liked = [word for word in words if set(likes) & set(spelled(tokenizer)[word])]
        word = draw.choice(liked if liked and draw.random() < 0.8 else words)
        if word in ends:
            break
        constraint.accept(word)
        said.append(word)
        assert len(said) <= left, f"{tokenizer.decode(said)!r} has more than {left} words"
    return said


def answer(
    grammar: Grammar, left: int, draw: random.Random, likes: str = "", tokenizer: Tokenizer = STARTER
) -> str:
    """Return the text of an answer; its words are whole characters together."""
    said = tokens(grammar, left, draw, likes, tokenizer)
    marks = {token["id"]: token["content"] for token in tokenizer.layout["added_tokens"]}
    pieces = [
        marks[word].encode() if word in marks else spelled(tokenizer)[word].encode("latin-1") for word in said
    ]
    text = b"".join(pieces).decode("utf-8", errors="strict")
    assert text == tokenizer.decode(said)
    return text


def with_marks(*marks: str) -> Tokenizer:
    """Return the starter's tokenizer with some marks as words of their own, not control."""
    layout = STARTER.layout
    for number, mark in enumerate(marks):
        layout["added_tokens"].append(
            {
                "id": STARTER.size + number,
                "content": mark,
                "special": False,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
            }
        )
    return Tokenizer(json.dumps(layout), STARTER.settings, STARTER.template, "starter with marks")
