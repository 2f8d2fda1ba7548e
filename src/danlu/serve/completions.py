"""POST /v1/completions: texts, or tokens, continued as they stand."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from danlu.generate.engine import Event, Scored
from danlu.serve import asking, constraints, wishes
from danlu.serve.chat import by_choice, usage
from danlu.serve.flight import Flight, Told
from danlu.serve.house import House, beside
from danlu.serve.schema import CompletionRequest
from danlu.serve.served import Served
from danlu.serve.spelling import Offsets
from danlu.serve.stream import written
from danlu.serve.voice import Voice, dumped, finite


async def answer(house: House, given: CompletionRequest, request: Request) -> Response:
    """Answer a request."""
    served = house.served
    served.adapter(given.model)
    begin = given.add_special_tokens is not False
    with house.worker.room_for(len(one_by_one(given.prompt)) * (given.n or 1)):
        prompts = await beside(request, lambda: prompts_of(served, given.prompt, begin))
        grammar = await constraints.wanted(served, given)
    options: dict[str, Any] = {}
    if given.logprobs is not None:
        options["logprobs"] = given.logprobs
        if given.echo:
            options["prompt_logprobs"] = given.logprobs
    jobs = wishes.jobs(served, given, prompts, grammar, **options)
    return await written(
        house, request, jobs, given.stream, lambda flight: _Talk(house, given, flight, prompts)
    )


def one_by_one(given: Any) -> list[Any]:
    """Return one or several texts, or tokens in their place, as several."""
    return [given] if isinstance(given, str) or isinstance(given[0], int) else list(given)


def prompts_of(served: Served, given: Any, begin: bool) -> list[list[int]]:
    """Return the tokens of one or several texts, or those given."""
    texts = one_by_one(given)
    if not isinstance(texts[0], str):
        return texts
    found = [asking.text_ids(served.tokenizer, text, begin) for text in texts]
    return [ids or [served.tokenizer.eos_id] for ids in found]


class _Talk:
    """The answers to one request, on their way into JSON."""

    def __init__(
        self, house: House, given: CompletionRequest, flight: Flight, prompts: Sequence[list[int]]
    ) -> None:
        self.served = house.served
        self.given = given
        self.flight = flight
        self.sent = one_by_one(given.prompt)
        self.prompts = prompts
        with_stop = bool(given.include_stop_str_in_output)
        self.voices = [Voice(None, str, with_stop=with_stop) for _ in flight.jobs]
        self.offsets = [Offsets() for _ in flight.jobs]
        self.id = f"cmpl-{secrets.token_hex(16)}"
        self.created = int(time.time())
        self.model = given.model or house.served.name

    def whole(self, told: Told) -> dict[str, Any]:
        """Return the complete answer."""
        choices = []
        for number, events in sorted(by_choice(told)):
            text, scores = self._said(number, events, first=True)
            choices.append(self._choice(number, text, scores, events, first=True))
        head = {"id": self.id, "object": "text_completion", "created": self.created, "model": self.model}
        return {**head, "choices": choices, "usage": self._usage(), "system_fingerprint": None}

    async def stream(self, told: Told) -> AsyncGenerator[list[str], None]:
        """Yield the chunks of the answer, those that are there together."""
        options = self.given.stream_options
        usage_last = bool(options and options.include_usage)
        always = bool(options and options.continuous_usage_stats)
        head = {"id": self.id, "object": "text_completion", "created": self.created, "model": self.model}
        before = f'{dumped(head)[:-1]},"choices":['
        after = '],"usage":null}' if usage_last else "]}"
        begun: set[int] = set()
        while told:
            out: list[str] = []
            for number, events in by_choice(told):
                first = number not in begun
                begun.add(number)
                text, scores = self._said(number, events, first)
                # The first token is told even where it shows no letter yet: whoever waits sees it begin.
                if first or text or scores or self.voices[number].finish or self.given.return_token_ids:
                    end = f'],"usage":{dumped(self._usage())}}}' if always else after
                    choice = self._choice(number, text, scores, events, first)
                    out.append(before + dumped(choice) + end)
            if out:
                yield out
            told = await self.flight.take()
        if usage_last:
            yield [f'{before}],"usage":{dumped(self._usage())}}}']

    def _said(self, number: int, events: list[Event], first: bool) -> tuple[str, dict[str, Any] | None]:
        """Return the text that some tokens are, and their scores; with `echo` the prompt's come first."""
        voice = self.voices[number]
        scores: dict[str, Any] | None = None
        if self.given.logprobs is not None:
            scores = {"text_offset": [], "token_logprobs": [], "tokens": [], "top_logprobs": []}
        text, spelling = "", self.served.spelling
        if first and self.given.echo:
            text = self._written(number)
            if scores is not None:
                added = self._added(number)
                for place, (token, scored) in enumerate(zip(self._prompt(number), events[0].prompt)):
                    self._score(number, scores, token, scored, hidden=place < added)
        for event in events:
            text += "".join(delta.text for delta in voice.hear(event))  # type: ignore[union-attr]
            if scores is not None:
                scored = None if event.logprob is None else Scored(event.logprob, event.top)
                hidden = self.given.skip_special_tokens is not False and spelling.is_control(event.token)
                self._score(number, scores, event.token, scored, hidden)
        return text, scores

    def _score(
        self, number: int, scores: dict[str, Any], token: int, scored: Scored | None, hidden: bool
    ) -> None:
        """Tell a token's score; one that is `hidden` has no part in the text."""
        spelling = self.served.spelling
        name = spelling.name(token)
        scores["tokens"].append(name)
        scores["text_offset"].append(self.offsets[number].next([] if hidden else spelling.of(token)[1]))
        if scored is None:
            scores["token_logprobs"].append(None)
            scores["top_logprobs"].append(None)
            return
        scores["token_logprobs"].append(finite(scored.logprob))
        top = {spelling.name(other): finite(logprob) for other, logprob in scored.top}
        scores["top_logprobs"].append({**top, name: finite(scored.logprob)})

    def _choice(
        self, number: int, text: str, scores: dict[str, Any] | None, events: list[Event], first: bool
    ) -> dict[str, Any]:
        voice = self.voices[number]
        choice: dict[str, Any] = {"index": number, "text": text, "logprobs": scores}
        choice |= {"finish_reason": voice.finish, "stop_reason": voice.stopped}
        if self.given.return_token_ids:
            choice["token_ids"] = [event.token for event in events]
            choice |= {"prompt_token_ids": self._prompt(number)} if first else {}
        return choice

    def _prompt(self, number: int) -> list[int]:
        return self.prompts[number // (self.given.n or 1)]

    def _added(self, number: int) -> int:
        """Return how many tokens a prompt begins with that do not stand in its text."""
        sent = self._sent(number)
        if not isinstance(sent, str):
            return 0
        begin = self.given.add_special_tokens is not False
        return len(self.served.tokenizer.beginning() if begin else []) or int(not sent)

    def _written(self, number: int) -> str:
        """Return a prompt's text: as it was sent, or what the tokens sent say."""
        sent = self._sent(number)
        return sent if isinstance(sent, str) else self.served.tokenizer.decode(sent)

    def _sent(self, number: int) -> str | list[int]:
        """Return a prompt as it was sent."""
        return self.sent[number // (self.given.n or 1)]

    def _usage(self) -> dict[str, Any]:
        output = sum(len(voice.tokens) for voice in self.voices)
        return usage(sum(map(len, self.prompts)), output, self.flight.reused)
