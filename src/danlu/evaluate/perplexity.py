"""How well a model predicts a text: loss in nats a token, bits a byte, perplexity.

Each row of the data is read from its beginning, with the token that begins every text before it:

    text rows     every token of the text is scored, and the one that ends it
    chat rows     every learned token is: what the assistant says, and the end of its turn

so the loss is the one training measures. It is the sum of -log p over the scored tokens, divided by
their number; perplexity is exp(loss); bits per byte is that sum in bits, divided by the UTF-8 bytes
of the scored text (control tokens have none), and so compares models of different tokenizers.

A row longer than `context` is read in windows that overlap, each token being scored once:

    window 1   * * * * * * * *              context 8, stride 4
    window 2           . . . . * * * *      . is read again, * is scored
    window 3               . . . . . . * *  the last window reaches back as far as it can

so every token but the first ones of a row is predicted from at least `context - stride` others.

Letters: B windows, T tokens, C channels, N tokens of all windows.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from danlu.base.errors import UserError
from danlu.base.log import say
from danlu.data.batch import IGNORE
from danlu.data.encode import known
from danlu.data.records import Dialogue, Label, Record, Text, Tokens
from danlu.data.sources import Source
from danlu.device import ops
from danlu.model.decoder import Decoder
from danlu.tokenizer.chat import encode_chats
from danlu.tokenizer.tokenizer import Tokenizer

ROWS = 512
"""Rows held at a time; windows of like length are sought among them."""
PATIENCE = 10.0
"""Seconds between two lines of progress."""


@dataclass(frozen=True)
class Row:
    """One record as tokens: which of them are scored, and the bytes of text they stand for."""

    ids: list[int]
    scored: list[bool]
    bytes: int


@dataclass(frozen=True)
class Window:
    """A stretch of a row that one forward reads: labels[t] is the token after tokens[t], or IGNORE."""

    tokens: list[int]
    labels: list[int]


@dataclass(frozen=True)
class Score:
    """What was measured, as sums, and what follows from them."""

    nll: float = 0.0
    tokens: int = 0
    bytes: int = 0
    rows: int = 0

    @property
    def loss(self) -> float:
        """Nats a token."""
        return self.nll / self.tokens

    @property
    def perplexity(self) -> float:
        """exp(loss); infinite where that is beyond a number's range."""
        return math.exp(self.loss) if not self.loss > 700 else math.inf

    @property
    def bits_per_byte(self) -> float:
        """Bits a byte of the scored text; infinite where only ends of turns were scored."""
        return self.nll / math.log(2) / self.bytes if self.bytes else math.inf

    def as_dict(self) -> dict[str, float]:
        """Return everything, for a program to read."""
        names = ("loss", "perplexity", "bits_per_byte", "nll", "tokens", "bytes", "rows")
        return {name: getattr(self, name) for name in names}


def windows(row: Row, context: int, stride: int) -> Iterator[Window]:
    """Cut a row into windows of at most `context` tokens in which every scored token is scored once."""
    targets = len(row.ids) - 1
    done = 0
    while done < targets:
        end = min(done + stride if done else context, targets)
        start = max(0, end - context)
        labels = [
            row.ids[at + 1] if at >= done and row.scored[at + 1] else IGNORE for at in range(start, end)
        ]
        if any(label != IGNORE for label in labels):
            yield Window(row.ids[start:end], labels)
        done = end


def span(model: Decoder, context: int | None, stride: int | None) -> tuple[int, int]:
    """Return context and stride to measure with, the ones asked for if they are possible."""
    most = model.cfg.max_position_embeddings
    context = context or most
    if context > most:
        raise UserError(
            f"context: {context}, but the model reads {most} tokens at most", f"context={most} or less"
        )
    stride = stride or max(1, context // 2)
    if stride > context:
        raise UserError(
            f"stride: {stride} would pass over tokens, the context being {context}",
            f"stride={context} or less",
        )
    return context, stride


@torch.inference_mode()
def measure(model: Decoder, rows: Iterable[Row], context: int, stride: int, together: int = 8192) -> Score:
    """Return the score of a model on rows, `together` tokens to a forward; say how far it is now and then."""
    nll, tokens, size, count, said = 0.0, 0, 0, 0, time.monotonic()
    rows = iter(rows)
    while part := list(itertools.islice(rows, ROWS)):
        count += len(part)
        size += sum(row.bytes for row in part)
        tokens += sum(sum(row.scored[1:]) for row in part)
        cut = [window for row in part for window in windows(row, context, stride)]
        nll += sum(_nll(model, group) for group in _groups(cut, together))
        if time.monotonic() - said > PATIENCE:
            said = time.monotonic()
            say(f"{count:,} rows, {tokens:,} tokens, loss {nll / max(tokens, 1):.4f} so far")
    if not tokens:
        raise UserError(
            "data: holds no token to score", "rows with text, or with something the assistant says"
        )
    return Score(nll, tokens, size, count)


def _nll(model: Decoder, group: Sequence[Window]) -> float:
    """Return the sum of -log p over the scored tokens of some windows, filled up on the right."""
    device = model.head_weight.device
    width = max(len(window.tokens) for window in group)
    tokens_BT = torch.tensor([w.tokens + [0] * (width - len(w.tokens)) for w in group], device=device)
    labels_BT = torch.tensor([w.labels + [IGNORE] * (width - len(w.labels)) for w in group], device=device)
    hidden_NC = model(tokens_BT).hidden.flatten(0, 1)
    nll_N = ops.cross_entropy(*model.scored(hidden_NC), labels_BT.flatten(), softcap=model.cfg.logit_softcap)
    return float(nll_N.cpu().double().sum())


def _groups(cut: list[Window], together: int) -> Iterator[list[Window]]:
    """Put windows of like length together, longest first: if memory ends, it ends at once."""
    group: list[Window] = []
    for window in sorted(cut, key=lambda window: -len(window.tokens)):
        if group and (len(group) + 1) * len(group[0].tokens) > together:
            yield group
            group = []
        group.append(window)
    if group:
        yield group


def encode(tokenizer: Tokenizer, records: Sequence[Record]) -> Iterator[Row]:
    """Yield rows of text or of chat as tokens, as training would read them."""
    texts = iter(tokenizer.encode_many([r.text for r in records if isinstance(r, Text)]))
    chats = iter(encode_chats(tokenizer, [(r.messages, r.tools) for r in records if isinstance(r, Dialogue)]))
    begin, end = tokenizer.beginning(), [tokenizer.eos_id]
    for record in records:
        if isinstance(record, Text):
            ids = next(texts)
            scored = [False] * len(begin) + [True] * (len(ids) + 1)
            unread = 0 if begin else sum(tokenizer.byte_lengths[token] for token in ids[:1])
            yield Row(begin + ids + end, scored, len(record.text.encode()) - unread)
        elif isinstance(record, Tokens):
            scored = [place >= max(record.read, 1) for place in range(len(record.ids))]
            bytes_ = (tokenizer.byte_lengths[token] for token in itertools.compress(record.ids, scored))
            yield Row(record.ids, scored, sum(bytes_))
        else:
            chat = next(chats)
            said = [token for token, learned in zip(chat.ids, chat.mask) if learned]
            yield Row(chat.ids, chat.mask, sum(tokenizer.byte_lengths[token] for token in said))


def read(tokenizer: Tokenizer, files: Sequence[str | Path], limit: int | None = None) -> Iterator[Row]:
    """Yield the rows of files, text or chat, as tokens."""
    source = Source(files, None)
    records = (_scored(source, row, record, tokenizer) for row, record in itertools.islice(source, limit))
    while part := list(itertools.islice(records, ROWS)):
        yield from encode(tokenizer, part)


def _scored(source: Source, row: int, record: Record, tokenizer: Tokenizer) -> Record:
    """Return what can be scored of a record: a text without its label, a chat."""
    if isinstance(record, Label):
        return Text(record.text)
    if not isinstance(record, (Text, Tokens, Dialogue)):
        raise UserError(
            f"{source.where(row)}: this is no text and no chat, but a {type(record).__name__.lower()}",
            'rows such as {"text": "..."} or {"messages": [...]}',
        )
    if isinstance(record, Tokens):
        try:
            known(record, tokenizer)
        except UserError as error:
            raise UserError(f"{source.where(row)}: {error.problem}", error.hint) from None
    return record
