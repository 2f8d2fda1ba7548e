"""A record as the tokens a model reads of it, and which of them it learns, told by what training uses.

    view.ids        1    1078  87   2          view.runs    pieces of text, each of one or more tokens
    view.weights    0    0     1    1          0: only read
    view.read       yes  yes   yes  yes        no: cut off, or after all that is learned

A character that several tokens share is one piece, so that nothing unreadable is shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from danlu.data.encode import KINDS, Options, Tally
from danlu.data.records import Dialogue, Label, Preference, Prompt, Record, Text, Tokens, dialogues, texts
from danlu.tokenizer.chat import encode_chats
from danlu.tokenizer.tokenizer import Tokenizer


class Run(NamedTuple):
    """The tokens [first, last) and what they say together."""

    first: int
    last: int
    text: str
    control: bool
    """Whether it is a control token, not text that looks like one."""


class View(NamedTuple):
    """What a model makes of a record, or of a part of it."""

    title: str
    ids: np.ndarray
    weights: np.ndarray
    """How much each token counts as something to predict; 0: not at all."""
    read: np.ndarray
    """Whether each token is in a sample."""
    starts: Sequence[int]
    """Where samples begin, after the first."""


def views(record: Record, tokenizer: Tokenizer, options: Options) -> list[View]:
    """Return what a model reads of a record: two views of a preference, else one or more parts."""
    if isinstance(record, (Text, Tokens)):
        return [_sample(record, "pretrain", "", tokenizer, options)]
    if isinstance(record, Prompt):
        chat = next(encode_chats(tokenizer, [(record.messages, record.tools)], add_generation_prompt=True))
        answer = "" if record.answer is None else f"looked for: {record.answer}"
        return [_only_read(chat.ids, answer)]
    chats = list(dialogues(record))
    if chats:
        titles = ("chosen", "rejected") if isinstance(record, Preference) else ("",)
        return [_sample(chat, "chat", title, tokenizer, options) for title, chat in zip(titles, chats)]
    title = f"label: {record.label}" if isinstance(record, Label) else ""
    return [_only_read(tokenizer.encode(text), title) for text in texts(record)]


def _sample(record: Record, kind: str, title: str, tokenizer: Tokenizer, options: Options) -> View:
    for sample in KINDS[kind](tokenizer, [(0, record)], options, Tally()):
        weights = sample.weights
        if weights is None:
            weights = np.ones(len(sample.ids), np.float32)
        read, learned = np.zeros((2, len(sample.ids)), bool)
        for start, length in sample.cuts:
            read[start : start + length + 1] = True
            learned[start + 1 : start + length + 1] = True
        starts = [start for start, _ in sample.cuts if start]
        return View(title, sample.ids, np.where(learned, weights, 0), read, starts)
    assert isinstance(record, Dialogue)
    chat = next(encode_chats(tokenizer, [(record.messages, record.tools)]))
    return _only_read(chat.ids, title)


def _only_read(ids: Sequence[int], title: str) -> View:
    return View(title, np.array(ids, np.int64), np.zeros(len(ids), np.float32), np.ones(len(ids), bool), [])


def runs(view: View, tokenizer: Tokenizer) -> Iterator[Run]:
    """Yield the tokens of a view as text, those together that share a character."""
    decoder = tokenizer.stream()
    control = {token["id"] for token in tokenizer.control.values()}
    first = 0
    for at, token in enumerate(view.ids.tolist()):
        if token in control:
            if first < at:
                yield Run(first, at, decoder.flush(), False)
            yield Run(at, at + 1, tokenizer.decode([token]), True)
            decoder, first = tokenizer.stream(), at + 1
        elif text := decoder.push(token):
            yield Run(first, at + 1, text, False)
            first = at + 1
    if first < len(view.ids):
        yield Run(first, len(view.ids), decoder.flush(), False)
