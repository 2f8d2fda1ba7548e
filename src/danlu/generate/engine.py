"""Answer many prompts at once, token by token.

    for event in generate(model, tokenizer, prompts, Sampling(temperature=0.7)):
        print(event.index, event.text)

`Engine` is the same with requests that come and go: `add`, `step` until nothing is `busy`, `cancel`. A
step is a bounded piece of work, so that whoever calls it hears of new requests and cancelled ones soon.
Two kinds take turns while there is work for both:

    read      a piece of the prompts is read (`schedule.py`), going on from what a slot holds of their
              beginnings already (`held.py`); a prompt read to its end has its first token
    advance   every answer under way goes on by one token

The answers under way always lie in rows 0..n-1 of the cache: when one ends, the last one and it change
places, so every such forward reads plain slices.

A request ends with "stop" (an end token or a stop string, neither of which is shown; or its grammar has
nothing to add) or with "length" (`max_tokens`, or the model's context is full). What it gets depends on
no other request, up to the rounding of a batched matrix product.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from danlu.device.ops import Layout
from danlu.generate import held, schedule, scores
from danlu.generate.adapters import Adapters
from danlu.generate.allowed import allowed
from danlu.generate.cache import Cache
from danlu.generate.prompt import check_prompt, check_sampling, context, end_tokens
from danlu.generate.request import Constraint, Event, Mask, Request, Scored
from danlu.generate.sample import Sampler, Sampling
from danlu.generate.stop import StopStrings
from danlu.model import rope
from danlu.model.decoder import Decoder
from danlu.tokenizer.decoding import StreamDecoder
from danlu.tokenizer.tokenizer import Tokenizer

__all__ = ["Answer", "Constraint", "Engine", "Event", "Mask", "Scored", "complete", "generate"]

TEXTS = 8
"""Texts embedded in one forward, at most."""
EVEN = 16
"""Pieces of prompts are filled up to a multiple of this: a product prepares itself for each size anew."""


class Engine:
    """One model, one cache, and the requests in them."""

    def __init__(
        self,
        model: Decoder,
        tokenizer: Tokenizer,
        slots: int = 16,
        max_len: int | None = None,
        ends: Collection[int] | None = None,
        reuse: bool = True,
        adapters: Adapters | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.max_len = min(max_len or context(model), context(model))
        self.ends = frozenset(end_tokens(tokenizer) if ends is None else ends)
        self.cache = Cache(slots, self.max_len)
        self.slots = held.Slots(self.cache)
        self.sampler = Sampler(slots)
        self.reuse = reuse
        """Go on from what slots hold; a measurement may want every prompt read."""
        self.adapters = adapters or Adapters(model)
        self.waiting: deque[Request] = deque()
        self.reading: list[Request] = []
        self.rows: list[Request] = []
        self.turning_point = rope.turning_point(model.cfg)
        self._has_read = False
        """The last step read; now it is the answers' turn."""

    @property
    def busy(self) -> bool:
        """Say whether a step would do anything."""
        return bool(self.rows or self.reading or self.waiting)

    def add(
        self,
        index: int,
        prompt: Sequence[int],
        sampling: Sampling,
        mask: Mask | None = None,
        *,
        constraint: Constraint | None = None,
        logprobs: int | None = None,
        prompt_logprobs: int | None = None,
        adapter: str = "",
        show_control: bool = False,
    ) -> None:
        """Queue a request; its events will carry `index`.

        `logprobs` asks for the score of each token and of so many likelier ones, `prompt_logprobs` for
        those of the prompt. `show_control` shows control tokens too, but for those that end an answer.
        """
        vocabulary = self.model.cfg.vocab_size
        check_prompt(prompt, self.max_len, vocabulary, index)
        check_sampling(sampling, vocabulary, logprobs, prompt_logprobs)
        self.adapters.check(adapter)
        limit = min(self.max_len, len(prompt) + (sampling.max_tokens or self.max_len))
        request = Request(
            index,
            list(prompt),
            limit,
            sampling,
            StreamDecoder(lambda ids: self.tokenizer.decode(ids, control=show_control)),
            StopStrings(sampling.stop),
            self.ends,
            mask,
            constraint,
            logprobs,
            prompt_logprobs,
            adapter,
        )
        self.waiting.append(request)

    @torch.inference_mode()
    def cancel(self, index: int) -> None:
        """Drop a request, wherever it is; no event of it follows."""
        self.waiting = deque(request for request in self.waiting if request.index != index)
        for request in [request for request in self.reading if request.index == index]:
            self.reading.remove(request)
            if request.row >= 0:
                self.slots.leave(request.row)
        for row in reversed(range(len(self.rows))):
            if self.rows[row].index == index:
                self._leave(row)

    @torch.inference_mode()
    def step(self) -> list[Event]:
        """Read a piece of the prompts, or advance every answer by one token."""
        while self.waiting and len(self.rows) + len(self.reading) < self.cache.slots:
            self.reading.append(self.waiting.popleft())
        self._has_read = bool(self.reading and not (self.rows and self._has_read))
        if self._has_read:
            return self._read()
        return self._advance() if self.rows else []

    @torch.inference_mode()
    def embed(self, prompts: Sequence[Sequence[int]], adapter: str = "") -> Tensor:
        """Return each text's last hidden state after the final norm [n, hidden], of length 1.

        The cache is not touched, so requests may be under way.
        """
        for index, prompt in enumerate(prompts):
            check_prompt(prompt, self.max_len, self.model.cfg.vocab_size, index, answered=False)
        self.adapters.check(adapter)
        found = torch.empty(len(prompts), self.model.cfg.hidden_size)
        for group in schedule.groups([len(prompt) for prompt in prompts]):
            for part in (group[start : start + TEXTS] for start in range(0, len(group), TEXTS)):
                with self.adapters.rows([adapter] * len(part)):
                    found[part] = self._embedded([prompts[number] for number in part]).float().cpu()
        return F.normalize(found, dim=-1)

    def _embedded(self, prompts: list[Sequence[int]]) -> Tensor:
        lengths = [len(prompt) for prompt in prompts]
        device = self.model.head_weight.device
        padded = [[*prompt] + [0] * (max(lengths) - len(prompt)) for prompt in prompts]
        layout = Layout(longest=max(lengths), lengths=lengths)
        hidden_BTC = self.model(torch.tensor(padded, device=device), layout=layout).hidden
        return hidden_BTC[torch.arange(len(prompts)), torch.tensor(lengths) - 1]

    def _read(self) -> list[Event]:
        ready = [request for request in self.reading if request.row >= 0 or self._begin(request)]
        pieces = schedule.pieces([request.left for request in ready], alone=not self.rows)
        events = []
        for group in schedule.groups(pieces):
            events += self._read_together([(ready[number], pieces[number]) for number in group])
        return events

    def _way(self, request: Request, length: int) -> tuple[object, ...] | None:
        return held.way(self.model.cfg, self.adapters.identity(request.adapter), length)

    def _begin(self, request: Request) -> bool:
        """Give a prompt its slot; or not yet, where one being read has more of it than any slot."""
        if request.behind is not None:
            other, needed = request.behind
            if other in self.reading and other.read < needed:
                return False
            request.behind = None
        way = self._way(request, len(request.prompt))
        if not self.reuse or request.prompt_logprobs is not None:
            shared_way = None
        else:
            shared_way = way
            known = self.slots.find(request.prompt, way)[1]
            for other in self.reading:
                if other.row >= 0 and self.slots.held[other.row].way == way:
                    shared = min(held.common(other.prompt, request.prompt), len(request.prompt) - 1)
                    if shared >= known + held.LEAST and shared > other.read:
                        request.behind = other, shared
                        return False
        taken = {other.row for other in self.reading} | set(range(len(self.rows)))
        free = [slot for slot in range(self.cache.slots) if slot not in taken]
        request.row = self.slots.place(request.prompt, shared_way, free)
        self.slots.take(request.row, request.tokens, way)
        request.read = request.reused = self.cache.lengths[request.row]
        return True

    def _read_together(self, parts: list[tuple[Request, int]]) -> list[Event]:
        """Read a piece of each of some prompts; those read to their end have their first token."""
        pieces = [request.prompt[request.read : request.read + count] for request, count in parts]
        texts = [len(request.prompt) for request, _ in parts]
        hidden_BTC = self._forward([request for request, _ in parts], pieces, texts)
        first, done, last = len(self.rows), [], []
        for row, (request, count) in enumerate(parts):
            if request.prompt_logprobs is not None:
                scores.of_prompt(hidden_BTC[row, :count], self.model.logits, request)
            request.read += count
            if not request.left:
                done.append(request)
                last.append(hidden_BTC[row, count - 1])
        for request in done:
            self._join(request)
        return self._choose(first, torch.stack(last)) if done else []

    def _join(self, request: Request) -> None:
        """Let a prompt that is read be answered: it takes the row behind the others."""
        row = len(self.rows)
        if request.row != row:
            for other in self.reading:
                if other.row == row:
                    other.row = request.row
            self.slots.swap(row, request.row)
            request.row = row
        self.reading.remove(request)
        self.sampler.put(row, request.sampling, request.prompt)
        self.rows.append(request)

    def _advance(self) -> list[Event]:
        for row, request in enumerate(self.rows):
            if self.cache.lengths[row] == self.turning_point:
                self._read_again(row, request)
        hidden_B1C = self._forward(self.rows, [request.output[-1:] for request in self.rows])
        return self._choose(0, hidden_B1C[:, 0])

    def _read_again(self, row: int, request: Request) -> None:
        """Read a text anew whose next token turns all of it otherwise: what was kept of it is worthless."""
        text = request.tokens[:-1]
        self.cache.reset(row)
        self.slots.take(row, request.tokens, self._way(request, len(text) + 1))
        for start in range(0, len(text), schedule.CHUNK):
            self._forward([request], [text[start : start + schedule.CHUNK]], [len(text) + 1])

    def _forward(
        self, requests: Sequence[Request], pieces: list[list[int]], texts: list[int] | None = None
    ) -> Tensor:
        """Read the next tokens of some requests; return what the model makes of each."""
        counts = [len(piece) for piece in pieces]
        width = max(counts)
        if width > 1:
            width = -(-width // EVEN) * EVEN
        device = self.model.head_weight.device
        tokens_BT = torch.tensor([piece + [0] * (width - len(piece)) for piece in pieces], device=device)
        cache = self.cache
        cache.begin([request.row for request in requests], counts, width, device, texts)
        with self.adapters.rows([request.adapter for request in requests]):
            output = self.model(tokens_BT, cache.positions(), layout=cache.layout(), cache=cache)
        cache.end()
        return output.hidden

    def _choose(self, first: int, last_BC: Tensor) -> list[Event]:
        logits_BV = self.model.logits(last_BC)
        rows = self.rows[first : first + len(last_BC)]
        tokens = self.sampler.choose(logits_BV, first, allowed(rows, logits_BV))
        told = scores.of_chosen(logits_BV, rows, tokens)
        events = [request.accept(token, score) for request, token, score in zip(rows, tokens, told)]
        for offset in reversed(range(len(events))):
            if events[offset].finish:
                self._leave(first + offset)
        return events

    def _leave(self, row: int) -> None:
        """Free a row; the last one and it change places."""
        last = len(self.rows) - 1
        self.slots.leave(row)
        if row != last:
            self.slots.swap(last, row)
            self.sampler.move(last, row)
            self.rows[row] = self.rows[last]
            self.rows[row].row = row
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
