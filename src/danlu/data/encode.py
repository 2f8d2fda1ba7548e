"""Records to token ids, cut to length, with what is learned of each.

    pretrain   bos + text + eos, cut every `seq_len` places; every token after the first is learned;
               ids that are given stay as they are
    chat       what the template renders, up to the last learned token; see tokenizer/chat.py

A chat that is too long loses its end; where that would take every learned token, it loses its
beginning instead. Both are counted and said, and so is a chat that teaches nothing: no label is lost
in silence. A new kind is one function here and one line in KINDS.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from danlu.base.errors import UserError
from danlu.data.records import Dialogue, Record, Text, Tokens
from danlu.data.tags import true_tags
from danlu.tokenizer.chat import Chat, Span, encode_chats, weigh
from danlu.tokenizer.memo import Memo
from danlu.tokenizer.tokenizer import Tokenizer


class Sample(NamedTuple):
    """The ids of one record, the weight of each as something to predict (None: 1), and how to cut them.

    A cut (start, length) reads ids[start : start + length] and learns the ones after each.
    """

    row: int
    ids: np.ndarray
    weights: np.ndarray | None
    cuts: list[tuple[int, int]]


@dataclass
class Tally:
    """What happened on the way, to be said afterwards."""

    rows: int = 0
    samples: int = 0
    tokens: int = 0
    """Places in rows: tokens that are read."""
    learned: int = 0
    cut: int = 0
    """Texts longer than seq_len, cut into several samples."""
    end_lost: int = 0
    """Chats whose end did not fit."""
    beginning_lost: int = 0
    """Chats whose beginning was cut so that something to learn remains."""
    labels_lost: int = 0
    """Learned tokens that went with the cut."""
    taught_nothing: int = 0
    """Chats without anything to learn, left out."""

    def add(self, other: Tally) -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def lines(self, seq_len: int) -> Iterator[str]:
        """Yield what the user should know, beginning with the sizes."""
        yield f"{self.samples:,} samples, {self.tokens:,} tokens, {self.learned:,} of them learned"
        if self.cut:
            yield f"{self.cut:,} texts are longer than seq_len={seq_len} and were cut into several samples"
        if self.end_lost or self.beginning_lost:
            yield (
                f"{self.end_lost + self.beginning_lost:,} chats are longer than seq_len={seq_len}:"
                f" {self.end_lost:,} lost their end, {self.beginning_lost:,} their beginning,"
                f" with {self.labels_lost:,} learned tokens"
            )
        if self.taught_nothing:
            yield f"{self.taught_nothing:,} chats teach nothing (loss_mask 0 throughout) and are left out"


class Options(NamedTuple):
    """What changes the encoding of a record, beside the record and the tokenizer."""

    seq_len: int
    tag_weight: float = 1.0
    """Weight of the tokens of true think and answer tags."""


Encoder = Callable[[Tokenizer, "Sequence[tuple[int, Record]]", Options, Tally], "Iterator[Sample]"]


def pretrain(
    tokenizer: Tokenizer, records: Sequence[tuple[int, Record]], options: Options, tally: Tally
) -> Iterator[Sample]:
    """Yield texts between begin and end tokens, in pieces that together lose no token.

    What is token ids already gets neither; a piece of it without anything to learn is left out.
    """
    texts = iter(_memo(tokenizer).encode([record.text for _, record in records if isinstance(record, Text)]))
    dtype = ids_dtype(tokenizer)
    begin, end = (np.array(ids, dtype).tobytes() for ids in (tokenizer.beginning(), [tokenizer.eos_id]))
    for row, record in records:
        weights, read = None, 0
        if isinstance(record, Tokens):
            whole, read = known(record, tokenizer), record.read
            weights = (np.arange(len(whole)) >= read).astype(np.float32) if read > 1 else None
        else:
            whole = np.frombuffer(begin + next(texts) + end, dtype)
        places = len(whole) - 1
        starts = range(0, places, options.seq_len)
        tally.cut += len(starts) > 1
        cuts = [(s, min(options.seq_len, places - s)) for s in starts if s + options.seq_len >= read]
        yield Sample(row, whole, weights, cuts)


def ids_dtype(tokenizer: Tokenizer) -> type[np.uint16] | type[np.int32]:
    """Return the smallest kind of number that holds every id."""
    return np.uint16 if tokenizer.size <= 1 << 16 else np.int32


_memo = functools.lru_cache(maxsize=2)(Memo)


def known(record: Tokens, tokenizer: Tokenizer) -> np.ndarray:
    """Return ids that are all of the vocabulary; who asks knows the row, and adds it to what is wrong."""
    ids = np.array(record.ids)
    if ids.max() >= tokenizer.size:
        place = int(np.argmax(ids >= tokenizer.size))
        raise UserError(
            f"input_ids[{place}] is {ids[place]}, and the vocabulary"
            f" of {tokenizer.name} has {tokenizer.size:,} tokens",
            "use the tokenizer that made these ids",
        )
    return ids


def chat(
    tokenizer: Tokenizer, records: Sequence[tuple[int, Record]], options: Options, tally: Tally
) -> Iterator[Sample]:
    """Yield chats with the weights of what the assistant says."""
    dialogues = [(record.messages, record.tools) for _, record in records if isinstance(record, Dialogue)]
    for (row, _), encoded in zip(records, encode_chats(tokenizer, dialogues)):
        weights = np.array(encoded.weights, np.float32)
        if options.tag_weight != 1.0:
            weights *= tag_factors(encoded, options.tag_weight)
        learned = 1 + np.flatnonzero(weights[1:])
        if not learned.size:
            tally.taught_nothing += 1
            continue
        cut = _fit(learned, options.seq_len, tally)
        yield Sample(row, np.array(encoded.ids), weights, [cut])


def _fit(learned: np.ndarray, seq_len: int, tally: Tally) -> tuple[int, int]:
    """Return what to keep of a chat whose learned tokens are these: all, its beginning, or its end."""
    places = int(learned[-1])  # what follows the last learned token teaches nothing
    if places <= seq_len:
        return 0, places
    kept = int((learned <= seq_len).sum())
    if kept:
        tally.end_lost += 1
        tally.labels_lost += len(learned) - kept
        return 0, int(learned[kept - 1])
    tally.beginning_lost += 1
    tally.labels_lost += int((learned <= places - seq_len).sum())
    return places - seq_len, seq_len


def tag_factors(encoded: Chat, weight: float) -> np.ndarray:
    """Return `weight` for tokens with a character of a true tag of an answer, 1 for all others."""
    tags = [
        Span(span.message, span.start + start, span.start + stop, span.start + stop, weight)
        for span in encoded.spans
        for start, stop in true_tags(encoded.text[span.start : span.end])
    ]
    factors = np.array(weigh(encoded.offsets, tags), np.float32)
    return np.where(factors > 0, factors, np.float32(1))


KINDS: dict[str, Encoder] = {"pretrain": pretrain, "chat": chat}
