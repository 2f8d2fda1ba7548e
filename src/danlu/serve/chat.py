"""POST /v1/chat/completions: a chat's next message, whole or as it is written."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from danlu.generate.engine import Event
from danlu.serve import asking, constraints, wishes
from danlu.serve.flight import Flight, Told
from danlu.serve.house import House, beside
from danlu.serve.schema import ChatRequest, NamedTool
from danlu.serve.stream import written
from danlu.serve.voice import Voice, call_id, dumped, scored
from danlu.tools import parse
from danlu.tools.reasoning import THOUGHTS


async def answer(house: House, given: ChatRequest, request: Request) -> Response:
    """Answer a request."""
    served = house.served
    served.adapter(given.model)
    thoughts = served.profile.reasoning_parser
    with house.worker.room_for(given.n or 1):
        prompt = await beside(request, lambda: asking.asked(served.tokenizer, given, bool(thoughts)))
        grammar = await constraints.wanted(served, given, prompt)
    if thoughts and THOUGHTS[thoughts] == "always" and not prompt.thoughts:
        thoughts = None  # the prompt has closed the thought that others leave open: all is answer
    tools = [tool.given for tool in given.shown]
    form = constraints.form(served) if constraints.calling(given) else None
    options: dict[str, Any] = {"logprobs": given.top_logprobs or 0} if given.logprobs else {}
    if served.hidden(form, thoughts):
        options["show_control"] = True
    jobs = wishes.jobs(served, given, [prompt.ids], grammar, **options)

    def voice() -> Voice:
        parser = None
        if form or thoughts:
            opened = prompt.thoughts == "opened"
            parser = parse.parser(form, thoughts, thinking=opened, tools=tools)
        return Voice(
            parser,
            lambda: call_id(form),
            thoughts=given.include_reasoning is not False,
            one_call=given.parallel_tool_calls is False or isinstance(given.tool_choice, NamedTool),
            with_stop=bool(given.include_stop_str_in_output),
        )

    return await written(
        house, request, jobs, given.stream, lambda flight: _Talk(house, given, flight, prompt.ids, voice)
    )


class _Talk:
    """The answers to one request, on their way into JSON."""

    def __init__(
        self, house: House, given: ChatRequest, flight: Flight, prompt: list[int], voice: Callable[[], Voice]
    ) -> None:
        self.spelling = house.served.spelling
        self.given = given
        self.flight = flight
        self.prompt = prompt
        self.voices = [voice() for _ in flight.jobs]
        self.id = f"chatcmpl-{secrets.token_hex(16)}"
        self.created = int(time.time())
        self.model = given.model or house.served.name

    def whole(self, told: Told) -> dict[str, Any]:
        """Return the complete answer."""
        said: list[list[Any]] = [[] for _ in self.voices]
        events: list[list[Event]] = [[] for _ in self.voices]
        for number, event in told:
            said[number] += self.voices[number].hear(event)
            events[number].append(event)
        choices = []
        for number, voice in enumerate(self.voices):
            choice: dict[str, Any] = {"index": number, "message": voice.message(said[number])}
            choice["logprobs"] = self._scores(events[number]) if self.given.logprobs else None
            choice["finish_reason"] = voice.reason
            choice["stop_reason"] = voice.stopped
            if self.given.return_token_ids:
                choice["token_ids"] = voice.tokens
            choices.append(choice)
        head = {"id": self.id, "object": "chat.completion", "created": self.created, "model": self.model}
        whole = {**head, "choices": choices, "usage": self._usage(), "system_fingerprint": None}
        return whole | ({"prompt_token_ids": self.prompt} if self.given.return_token_ids else {})

    async def stream(self, told: Told) -> AsyncGenerator[list[str], None]:
        """Yield the chunks of the answer, those that are there together."""
        options = self.given.stream_options
        usage = bool(options and options.include_usage)
        always = bool(options and options.continuous_usage_stats)
        head = {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
        }
        before = f'{dumped(head)[:-1]},"choices":['
        after = '],"usage":null}' if usage else "]}"
        begun: set[int] = set()
        while told:
            out: list[str] = []
            for number, events in by_choice(told):
                if number not in begun:
                    begun.add(number)
                    opening = '{"role":"assistant","content":""}'
                    ids = f',"prompt_token_ids":{self.prompt}' if self.given.return_token_ids else ""
                    out.append(f"{before}{self._choice(number, opening)}{after[:-1]}{ids}}}")
                for choice in self._choices(number, events):
                    end = f'],"usage":{dumped(self._usage())}}}' if always else after
                    out.append(f"{before}{choice}{end}")
            if out:
                yield out
            told = await self.flight.take()
        if usage:
            yield [f'{before}],"usage":{dumped(self._usage())}}}']

    def _choices(self, number: int, events: list[Event]) -> list[str]:
        """Return what some tokens of one answer tell, ready to be sent."""
        voice = self.voices[number]
        deltas = [delta for event in events for delta in voice.hear(event)]
        pieces = list(voice.pieces(deltas))
        scores = dumped(self._scores(events)) if self.given.logprobs else "null"
        tokens = [event.token for event in events] if self.given.return_token_ids else None
        if not pieces and (self.given.logprobs or tokens):
            pieces = ['{"content":""}']
        out = []
        for place, piece in enumerate(pieces):
            out.append(self._choice(number, piece, "null" if place else scores, None if place else tokens))
        if voice.finish:
            reason = f'"{voice.reason}","stop_reason":{dumped(voice.stopped)}'
            out.append(f'{{"index":{number},"delta":{{}},"logprobs":null,"finish_reason":{reason}}}')
        return out

    def _choice(self, number: int, delta: str, scores: str = "null", tokens: list[int] | None = None) -> str:
        ids = f',"token_ids":{tokens}' if tokens else ""
        return f'{{"index":{number},"delta":{delta},"logprobs":{scores},"finish_reason":null{ids}}}'

    def _scores(self, events: list[Event]) -> dict[str, Any]:
        return {"content": [scored(self.spelling, event) for event in events], "refusal": None}

    def _usage(self) -> dict[str, Any]:
        return usage(len(self.prompt), sum(len(voice.tokens) for voice in self.voices), self.flight.reused)


def by_choice(told: Told) -> list[tuple[int, list[Event]]]:
    """Return the events of each answer together."""
    if len(told) == 1:
        return [(told[0][0], [told[0][1]])]
    found: dict[int, list[Event]] = {}
    for number, event in told:
        found.setdefault(number, []).append(event)
    return list(found.items())


def usage(prompt: int, output: int, reused: int) -> dict[str, Any]:
    """Return how many tokens a request read and wrote."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": reused},
    }
