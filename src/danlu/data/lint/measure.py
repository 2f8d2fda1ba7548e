"""How long records are in tokens and how much of them is learned, by the functions that training uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from danlu.base.errors import UserError
from danlu.data.encode import KINDS, Options, Tally
from danlu.data.records import Dialogue, Prompt, Record, Text, Tokens, dialogues, texts
from danlu.tokenizer.chat import encode_chats
from danlu.tokenizer.tokenizer import Tokenizer

ENDLESS = 1 << 40  # a seq_len that cuts nothing


class Measured(NamedTuple):
    """One record, encoded."""

    tokens: int
    """Of the longest of its samples, before any cut."""
    learned: int | None
    """How many of them are learned, before any cut; None where a stage of its own decides."""
    lost: int
    """How many learned ones a cut takes."""
    cut: bool = False
    """Whether it does not fit into one sample."""
    others: int = 0
    """Tokens of its other samples, such as the rejected answer."""
    problem: UserError | None = None
    """Why it cannot be encoded."""


def measure(tokenizer: Tokenizer, records: Sequence[Record], seq_len: int | None) -> list[Measured]:
    """Return how long each record is."""
    out: dict[int, Measured] = {}
    for kind in (Text, Tokens, Dialogue, Prompt, None):
        chosen = [n for n, record in enumerate(records) if _kind(record) is kind]
        try:
            out |= _together(tokenizer, kind, chosen, records, seq_len)
        except UserError:
            for number in chosen:
                out |= _alone(tokenizer, kind, number, records, seq_len)
    return [out[number] for number in range(len(records))]


def _kind(record: Record) -> type | None:
    return type(record) if isinstance(record, (Text, Tokens, Dialogue, Prompt)) else None


def _together(
    tokenizer: Tokenizer,
    kind: type | None,
    chosen: Sequence[int],
    records: Sequence[Record],
    seq_len: int | None,
) -> dict[int, Measured]:
    some = [(number, records[number]) for number in chosen]
    if not some:
        return {}
    if kind is Prompt:
        chats = [(r.messages, r.tools) for _, r in some if isinstance(r, Prompt)]
        encoded = encode_chats(tokenizer, chats, add_generation_prompt=True)
        return {number: _whole([len(chat.ids)], seq_len) for number, chat in zip(chosen, encoded)}
    if kind is None:
        return {number: _whole(list(_lengths(tokenizer, records[number])), seq_len) for number in chosen}
    return _encoded(tokenizer, "chat" if kind is Dialogue else "pretrain", some, seq_len)


def _alone(
    tokenizer: Tokenizer, kind: type | None, number: int, records: Sequence[Record], seq_len: int | None
) -> dict[int, Measured]:
    try:
        return _together(tokenizer, kind, [number], records, seq_len)
    except UserError as error:
        return {number: Measured(0, None, 0, problem=error)}


def _encoded(
    tokenizer: Tokenizer, kind: str, some: Sequence[tuple[int, Record]], seq_len: int | None
) -> dict[int, Measured]:
    """Return what training would make of texts or chats."""
    out = {number: Measured(0, 0, 0) for number, _ in some}
    for sample in KINDS[kind](tokenizer, some, Options(seq_len or ENDLESS), Tally()):
        tokens = len(sample.ids)
        learned = np.ones(tokens - 1, bool) if sample.weights is None else sample.weights[1:] > 0
        kept = sum(int(learned[start : start + length].sum()) for start, length in sample.cuts)
        lost = int(learned.sum()) - kept
        cut = lost > 0 or len(sample.cuts) > 1 or any(start for start, _ in sample.cuts)
        out[sample.row] = Measured(tokens, int(learned.sum()), lost, cut)
    return out


def _whole(lengths: Sequence[int], seq_len: int | None) -> Measured:
    """Return what is known where a stage of its own decides what is learned."""
    most = max(lengths, default=0)
    return Measured(most, None, 0, seq_len is not None and most > seq_len, sum(lengths) - most)


def _lengths(tokenizer: Tokenizer, record: Record) -> Iterator[int]:
    """Yield how long each part of a record is that a sample is made of."""
    chats = [(dialogue.messages, dialogue.tools) for dialogue in dialogues(record)]
    if chats:
        yield from (len(chat.ids) for chat in encode_chats(tokenizer, chats))
    else:
        yield from map(len, tokenizer.encode_many(list(texts(record))))
