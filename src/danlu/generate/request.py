"""One prompt on its way to an answer, and what is told of each token.

    waiting   in the queue
    reading   some of the prompt is in the cache: `read` of its tokens
    busy      a token a step, each told as an `Event`

A token ends the answer if it is an end token, one of `stop_token_ids`, completes a stop string, or
leaves a constraint nothing to add; of these only the last is part of the text. `stopped` says which
stop string or token it was, as vLLM's `stop_reason` does: nothing for an end token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from torch import Tensor

from danlu.generate.settings import Sampling
from danlu.generate.stop import StopStrings
from danlu.tokenizer.decoding import StreamDecoder

Mask = Callable[[Sequence[int]], "Tensor | None"]
"""Given a request's tokens so far, which words may come next (bool [V]); None allows all."""


class Constraint(Protocol):
    """What an answer must be like, word by word: a grammar's state."""

    @property
    def finished(self) -> bool:
        """Say whether nothing but an end token may follow."""

    def fill(self, row_bits: np.ndarray) -> None:
        """Write which words may come next: int32, bit w % 32 of number w // 32; zeros beyond its words."""

    def accept(self, token: int) -> None:
        """Go on by the word chosen; an end token is not told."""


class Scored(NamedTuple):
    """How likely the model held a token, and what it held likelier, before anything else weighed in."""

    logprob: float
    top: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens, as many as asked for, and their log-probabilities."""


@dataclass(frozen=True)
class Event:
    """One token of one request: its text as far as it may be shown, and why the answer ended."""

    index: int
    token: int
    text: str
    finish: str | None = None
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()
    reused: int = 0
    """Tokens of the prompt that had been read for another request; told with the first token."""
    stopped: int | str | None = None
    """The stop string or stop token that ended the answer."""
    prompt: tuple[Scored | None, ...] = ()
    """Each prompt token's score, where asked for, with the first token; the very first has none."""


@dataclass(eq=False)
class Request:
    """One prompt, its settings, and where it stands."""

    index: int
    prompt: list[int]
    limit: int
    """Tokens of prompt and answer together."""
    sampling: Sampling
    decoder: StreamDecoder
    stops: StopStrings
    ends: frozenset[int]
    mask: Mask | None = None
    constraint: Constraint | None = None
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    adapter: str = ""
    output: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    """Prompt and output."""
    behind: tuple[Request, int] | None = None
    """Whose prompt it waits for, and how many tokens of that, to go on from there."""
    row: int = -1
    """Where it lies in the cache; nowhere yet below 0."""
    read: int = 0
    """Tokens of the prompt in the cache."""
    reused: int = 0
    scores: list[Scored | None] = field(default_factory=lambda: [None])
    """Of the prompt's tokens."""

    def __post_init__(self) -> None:
        self.tokens = list(self.prompt)
        self.ending = frozenset(self.sampling.stop_token_ids) | (
            frozenset() if self.sampling.ignore_eos else self.ends
        )

    @property
    def left(self) -> int:
        """Tokens of the prompt still to be read."""
        return len(self.prompt) - self.read

    @property
    def too_short(self) -> bool:
        """Say whether the answer may not end yet."""
        return len(self.output) < self.sampling.min_tokens

    def accept(self, token: int, scored: Scored | None) -> Event:
        """Add the token chosen; return what is told of it."""
        first = not self.output
        self.output.append(token)
        self.tokens.append(token)
        ended = token in self.ending
        finished = False
        if self.constraint is not None and not ended:
            self.constraint.accept(token)
            finished = self.constraint.finished
        text, found = self._text(token, ended, ended or finished or len(self.tokens) >= self.limit)
        full = len(self.tokens) >= self.limit
        finish = "stop" if ended or finished or found is not None else "length" if full else None
        by_token = ended and token not in (frozenset() if self.sampling.ignore_eos else self.ends)
        return Event(
            self.index,
            token,
            text,
            finish,
            logprob=scored.logprob if scored else None,
            top=scored.top if scored else (),
            reused=self.reused if first else 0,
            stopped=token if by_token else found,
            prompt=tuple(self.scores) if first and self.prompt_logprobs is not None else (),
        )

    def _text(self, token: int, ended: bool, last: bool) -> tuple[str, str | None]:
        """Return what may be shown now, and the stop string that is complete."""
        text = "" if ended or token in self.ends else self.decoder.push(token)
        early = len(self.output) <= self.sampling.min_tokens
        text, stopped = self.stops.push(text, early)
        if last and not stopped:
            rest, stopped = self.stops.push(self.decoder.flush(), early)
            text += rest + ("" if stopped else self.stops.flush())
        return text, self.stops.found if stopped else None
