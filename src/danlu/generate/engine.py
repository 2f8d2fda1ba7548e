"""Answer many prompts at once, token by token.

    for event in generate(model, tokenizer, prompts, Sampling(temperature=0.7)):
        print(event.index, event.text)

`Engine` is the same with requests that come and go: `add`, `step` until nothing is `busy`,
`cancel`. The busy requests always lie in rows 0..n-1 of the cache: when one ends, the last one
moves into its place, so every forward reads plain slices. New prompts are read together, shortest
first, in pieces of `CHUNK` tokens; then every request advances by one token a step.

A request ends with "stop" (an end token or a stop string, neither of which is shown) or with
"length" (`max_tokens`, or the model's context is full). What it gets depends on no other request,
up to the rounding of a batched matrix product.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from danlu.generate.cache import Cache
from danlu.generate.prompt import check_prompt, context, end_tokens
from danlu.generate.sample import Sampler, Sampling
from danlu.generate.stop import StopStrings
from danlu.model import rope
from danlu.model.decoder import Decoder
from danlu.tokenizer.decoding import StreamDecoder
from danlu.tokenizer.tokenizer import Tokenizer

CHUNK = 512
"""Tokens of each prompt read in one forward: bounds the attention mask of a long prompt."""
TOGETHER = 8192
"""Tokens of all prompts read in one forward, filling included: bounds the memory it needs."""

Mask = Callable[[Sequence[int]], "Tensor | None"]
"""Given a request's tokens so far, which words may come next (bool [V]); None allows all."""


@dataclass(frozen=True)
class Event:
    """One token of one request: its text as far as it may be shown, and why the answer ended."""

    index: int
    token: int
    text: str
    finish: str | None = None


@dataclass
class Request:
    """One prompt on its way to an answer."""

    index: int
    prompt: list[int]
    limit: int
    """Tokens of prompt and answer together."""
    sampling: Sampling
    decoder: StreamDecoder
    stops: StopStrings
    mask: Mask | None = None
    output: list[int] = field(default_factory=list)


class Engine:
    """One model, one cache, and the requests in them."""

    def __init__(
        self,
        model: Decoder,
        tokenizer: Tokenizer,
        slots: int = 16,
        max_len: int | None = None,
        ends: Collection[int] | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.max_len = min(max_len or context(model), context(model))
        self.ends = frozenset(end_tokens(tokenizer) if ends is None else ends)
        self.cache = Cache(slots, self.max_len)
        self.sampler = Sampler(slots)
        self.waiting: deque[Request] = deque()
        self.rows: list[Request] = []
        self.turning_point = rope.turning_point(model.cfg)

    @property
    def busy(self) -> bool:
        """Say whether a step would do anything."""
        return bool(self.rows or self.waiting)

    def add(self, index: int, prompt: Sequence[int], sampling: Sampling, mask: Mask | None = None) -> None:
        """Queue a request; its events will carry `index`."""
        check_prompt(prompt, self.max_len, self.model.cfg.vocab_size, index)
        limit = min(self.max_len, len(prompt) + (sampling.max_tokens or self.max_len))
        decoder = StreamDecoder(lambda ids: self.tokenizer.decode(ids, control=False))
        stops = StopStrings(sampling.stop)
        self.waiting.append(Request(index, list(prompt), limit, sampling, decoder, stops, mask))

    @torch.inference_mode()
    def cancel(self, index: int) -> None:
        """Drop a request, wherever it is; no event of it follows."""
        self.waiting = deque(request for request in self.waiting if request.index != index)
        for row in reversed(range(len(self.rows))):
            if self.rows[row].index == index:
                self._leave(row)

    @torch.inference_mode()
    def step(self) -> list[Event]:
        """Read the prompts that found a free slot, else advance every request by one token."""
        first = len(self.rows)
        free = self.cache.slots - first
        if free and self.waiting:
            new = [self.waiting.popleft() for _ in range(min(free, len(self.waiting)))]
            return [event for group in _groups(new) for event in self._read(group)]
        return self._advance() if self.rows else []

    def _read(self, group: list[Request]) -> list[Event]:
        first = len(self.rows)
        for row, request in enumerate(group, start=first):
            self.cache.reset(row)
            self.sampler.put(row, request.sampling, request.prompt)
            self.rows.append(request)
        last_BC = torch.empty(0)
        for start in range(0, max(len(request.prompt) for request in group), CHUNK):
            pieces = [request.prompt[start : start + CHUNK] for request in group]
            hidden_BC = self._forward(first, pieces, [len(request.prompt) for request in group])
            more_B1 = torch.tensor([[bool(piece)] for piece in pieces], device=hidden_BC.device)
            last_BC = torch.where(more_B1, hidden_BC, last_BC) if start else hidden_BC
        return self._choose(first, last_BC)

    def _advance(self) -> list[Event]:
        for row, request in enumerate(self.rows):
            if self.cache.lengths[row] == self.turning_point:
                self._read_again(row, request)
        return self._choose(0, self._forward(0, [request.output[-1:] for request in self.rows]))

    def _read_again(self, row: int, request: Request) -> None:
        """Read a text anew whose next token turns all of it otherwise: what was kept of it is worthless."""
        text = request.prompt + request.output[:-1]
        self.cache.reset(row)
        for start in range(0, len(text), CHUNK):
            self._forward(row, [text[start : start + CHUNK]], [len(text) + 1])

    def _forward(self, first: int, pieces: list[list[int]], texts: list[int] | None = None) -> Tensor:
        """Read each row's next tokens; return what the model makes of the last one of each."""
        counts = [len(piece) for piece in pieces]
        width = max(counts)
        device = self.model.head_weight.device
        tokens_BT = torch.tensor([piece + [0] * (width - len(piece)) for piece in pieces], device=device)
        self.cache.begin(first, counts, width, device, texts)
        output = self.model(tokens_BT, self.cache.positions(), layout=self.cache.layout(), cache=self.cache)
        self.cache.end()
        ends_B = torch.tensor([max(count - 1, 0) for count in counts], device=device)
        return output.hidden[torch.arange(len(counts), device=device), ends_B]

    def _choose(self, first: int, last_BC: Tensor) -> list[Event]:
        logits_BV = self.model.logits(last_BC)
        rows = self.rows[first : first + len(last_BC)]
        tokens = self.sampler.choose(logits_BV, first, _allowed(rows, logits_BV))
        events = [self._accept(request, token) for request, token in zip(rows, tokens)]
        for offset in reversed(range(len(events))):
            if events[offset].finish:
                self._leave(first + offset)
        return events

    def _accept(self, request: Request, token: int) -> Event:
        request.output.append(token)
        ended = token in self.ends
        text, stopped = ("", False) if ended else request.stops.push(request.decoder.push(token))
        full = len(request.prompt) + len(request.output) >= request.limit
        if (ended or full) and not stopped:
            rest, stopped = request.stops.push(request.decoder.flush())
            text += rest + request.stops.flush()
        finish = "stop" if ended or stopped else "length" if full else None
        return Event(request.index, token, text, finish)

    def _leave(self, row: int) -> None:
        """Free a row; the last one moves into it."""
        last = len(self.rows) - 1
        if row != last:
            self.cache.move(last, row)
            self.sampler.move(last, row)
            self.rows[row] = self.rows[last]
        self.rows.pop()


def generate(
    model: Decoder,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling | Sequence[Sampling],
    *,
    slots: int = 32,
    max_len: int | None = None,
    ends: Collection[int] | None = None,
    masks: Sequence[Mask | None] | None = None,
) -> Iterator[Event]:
    """Yield the tokens of the answers to `prompts` as they come, at most `slots` answers at a time."""
    each = [sampling] * len(prompts) if isinstance(sampling, Sampling) else list(sampling)
    assert len(each) == len(prompts), f"{len(each)} settings for {len(prompts)} prompts"
    engine = Engine(model, tokenizer, max(1, min(slots, len(prompts))), max_len, ends)
    for index, prompt in enumerate(prompts):
        engine.add(index, prompt, each[index], masks[index] if masks else None)
    was_training = model.training
    model.eval()
    try:
        while engine.busy:
            yield from engine.step()
    finally:
        model.train(was_training)


@dataclass
class Answer:
    """A finished answer: its tokens (the end token too, where there is one), text and reason to end."""

    tokens: list[int] = field(default_factory=list)
    text: str = ""
    finish: str = ""


def complete(
    model: Decoder,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling | Sequence[Sampling],
    *,
    slots: int = 32,
    ends: Collection[int] | None = None,
) -> list[Answer]:
    """Return the whole answers, in the prompts' order."""
    answers = [Answer() for _ in prompts]
    for event in generate(model, tokenizer, prompts, sampling, slots=slots, ends=ends):
        answer = answers[event.index]
        answer.tokens.append(event.token)
        answer.text += event.text
        answer.finish = event.finish or ""
    return answers


def _groups(requests: list[Request]) -> Iterator[list[Request]]:
    """Cut new requests, shortest prompt first, into groups that one forward can read."""
    requests = sorted(requests, key=lambda request: len(request.prompt))
    group: list[Request] = []
    for request in requests:
        if group and (len(group) + 1) * min(len(request.prompt), CHUNK) > TOGETHER:
            yield group
            group = []
        group.append(request)
    yield group


def _allowed(rows: list[Request], like_BV: Tensor) -> Tensor | None:
    """Return the words each request's mask allows, or None where nothing has a mask."""
    if all(request.mask is None for request in rows):
        return None
    allowed_BV = torch.ones(like_BV.shape, dtype=torch.bool, device=like_BV.device)
    for row, request in enumerate(rows):
        mask_V = request.mask(request.output) if request.mask else None
        if mask_V is not None:
            allowed_BV[row] = mask_V.to(like_BV.device)
    return allowed_BV
