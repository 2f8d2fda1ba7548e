"""How well a model predicts a text: loss in nats a token, bits a byte, perplexity.

Each row of the data is read from its beginning, with the token that begins every text before it:

    text rows     every token of the text is scored
    chat rows     every supervised token is: what the assistant says, and its end of turn

Loss is the sum of -log p over the scored tokens, divided by their number; perplexity is exp(loss);
bits per byte is that sum in bits divided by the UTF-8 bytes of the scored text, so it compares
models of different tokenizers. End-of-turn tokens count for the loss, having no bytes of text.

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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from danlu.data.batch import IGNORE
from danlu.device import ops
from danlu.model.decoder import Decoder
from danlu.tokenizer.chat import encode_chat
from danlu.tokenizer.tokenizer import Tokenizer

ROWS = 512
"""Rows held at a time; windows of like length are sought among them."""


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
        return self.nll / self.tokens if self.tokens else math.nan

    @property
    def perplexity(self) -> float:
        """exp(loss); infinite where that is beyond a number's range."""
        return math.exp(self.loss) if not self.loss > 700 else math.inf

    @property
    def bits_per_byte(self) -> float:
        """Bits a byte of the scored text."""
        return self.nll / math.log(2) / self.bytes if self.bytes else math.nan

    def as_dict(self) -> dict[str, float]:
        """Return everything, for a program to read."""
        names = ("loss", "perplexity", "bits_per_byte", "nll", "tokens", "bytes", "rows")
        return {name: getattr(self, name) for name in names}


def windows(row: Row, context: int, stride: int) -> Iterator[Window]:
    """Cut a row into windows of at most `context` tokens in which every scored token is scored once."""
    targets = len(row.ids) - 1
    done = 0
    while done < targets:
        end = min(max(done + stride, context) if done else context, targets)
        start = max(0, end - context)
        labels = [
            row.ids[at + 1] if at >= done and row.scored[at + 1] else IGNORE for at in range(start, end)
        ]
        if any(label != IGNORE for label in labels):
            yield Window(row.ids[start:end], labels)
        done = end


@torch.inference_mode()
def measure(
    model: Decoder,
    rows: Iterable[Row],
    context: int,
    stride: int | None = None,
    together: int = 8192,
) -> Score:
    """Return the score of a model on rows, `together` tokens to a forward."""
    nll, tokens, size, count = 0.0, 0, 0, 0
    rows = iter(rows)
    while part := list(itertools.islice(rows, ROWS)):
        count += len(part)
        size += sum(row.bytes for row in part)
        tokens += sum(sum(row.scored[1:]) for row in part)
        cut = [window for row in part for window in windows(row, context, stride or max(1, context // 2))]
        for group in _groups(cut, together):
            nll += _nll(model, group)
    return Score(nll, tokens, size, count)


def _nll(model: Decoder, group: Sequence[Window]) -> float:
    """Return the sum of -log p over the scored tokens of some windows, filled up on the right."""
    device = model.head_weight.device
    width = max(len(window.tokens) for window in group)
    tokens_BT = torch.tensor([w.tokens + [0] * (width - len(w.tokens)) for w in group], device=device)
    labels_BT = torch.tensor([w.labels + [IGNORE] * (width - len(w.labels)) for w in group], device=device)
    hidden_NC = model(tokens_BT).hidden.flatten(0, 1)
    nll_N = ops.cross_entropy(hidden_NC, model.head_weight, labels_BT.flatten())
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


def encode(tokenizer: Tokenizer, record: dict[str, Any]) -> Row:
    """Return a text row or a chat row as tokens."""
    raise NotImplementedError
