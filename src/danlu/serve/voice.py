"""What one answer says, as it comes: deltas of content, thoughts and calls, in OpenAI's shape.

    event of the engine   ->  parser  ->  [Content("Hel"), ...]  ->  {"content": "Hel"}

The same for a stream and for an answer sent whole, so that the pieces always add up to the whole.
"""

from __future__ import annotations

import json
import secrets
import string
from collections.abc import Callable, Iterator
from typing import Any

from danlu.generate.engine import Event
from danlu.serve.spelling import Spelling
from danlu.tools.parse import CallArguments, CallBegin, Content, Delta, Parser, Reasoning

LEAST = -9999.0
"""Stands for minus infinity, which JSON does not know."""
LETTERS = string.ascii_letters + string.digits


def call_id(tool_parser: str | None) -> str:
    """Return a new id for a call; the templates of one family refuse any that has not nine letters."""
    if tool_parser == "mistral":
        return "".join(secrets.choice(LETTERS) for _ in range(9))
    return "call_" + secrets.token_hex(12)


class Voice:
    """One answer under way."""

    def __init__(
        self,
        parser: Parser | None,
        new_id: Callable[[], str],
        *,
        thoughts: bool = True,
        one_call: bool = False,
        with_stop: bool = False,
    ) -> None:
        self._parser = parser
        self._new_id = new_id
        self._thoughts = thoughts
        self._one_call = one_call
        self._with_stop = with_stop
        self.calls = 0
        self.tokens: list[int] = []
        self.finish: str | None = None
        self.stopped: int | str | None = None

    def hear(self, event: Event) -> list[Delta]:
        """Return what a token tells."""
        self.tokens.append(event.token)
        text = event.text
        if event.finish:
            self.finish, self.stopped = event.finish, event.stopped
            if self._with_stop and isinstance(event.stopped, str):
                text += event.stopped
        if self._parser is None:
            return [Content(text)] if text else []
        told = self._parser.push(text) if text else []
        if event.finish:
            told += self._parser.flush()
        return [delta for delta in told if self._wanted(delta)]

    def _wanted(self, delta: Delta) -> bool:
        if isinstance(delta, CallBegin):
            self.calls = max(self.calls, delta.index + 1)
        if isinstance(delta, CallBegin | CallArguments):
            return delta.index == 0 or not self._one_call
        return self._thoughts or not isinstance(delta, Reasoning)

    @property
    def reason(self) -> str | None:
        """Return why the answer ended, once it has."""
        return "tool_calls" if self.calls and self.finish == "stop" else self.finish

    def pieces(self, deltas: list[Delta]) -> Iterator[str]:
        """Yield deltas as JSON, neighbours of a kind together."""
        for delta in joined(deltas):
            if isinstance(delta, Content):
                yield f'{{"content":{dumped(delta.text)}}}'
            elif isinstance(delta, Reasoning):
                text = dumped(delta.text)
                yield f'{{"reasoning_content":{text},"reasoning":{text}}}'
            elif isinstance(delta, CallBegin):
                call = {"index": delta.index, "id": self._new_id(), "type": "function"}
                call["function"] = {"name": delta.name, "arguments": ""}
                yield f'{{"tool_calls":[{dumped(call)}]}}'
            else:
                call = {"index": delta.index, "function": {"arguments": delta.text}}
                yield f'{{"tool_calls":[{dumped(call)}]}}'

    def message(self, deltas: list[Delta]) -> dict[str, Any]:
        """Return all of an answer as one message."""
        content = "".join(delta.text for delta in deltas if isinstance(delta, Content))
        thoughts = "".join(delta.text for delta in deltas if isinstance(delta, Reasoning))
        calls: list[dict[str, Any]] = []
        for delta in deltas:
            if isinstance(delta, CallBegin):
                function = {"name": delta.name, "arguments": ""}
                calls.append({"id": self._new_id(), "type": "function", "function": function})
            elif isinstance(delta, CallArguments):
                calls[delta.index]["function"]["arguments"] += delta.text
        said: dict[str, Any] = {
            "role": "assistant",
            "content": content or (None if calls else ""),
            "refusal": None,
        }
        if thoughts:
            said |= {"reasoning_content": thoughts, "reasoning": thoughts}
        return said | ({"tool_calls": calls} if calls else {})


def joined(deltas: list[Delta]) -> list[Delta]:
    """Return deltas with neighbours of a kind made one: a reader who is behind gets fewer, longer pieces."""
    if len(deltas) < 2:
        return deltas
    out: list[Delta] = []
    for delta in deltas:
        last = out[-1] if out else None
        if isinstance(delta, Content) and isinstance(last, Content):
            out[-1] = Content(last.text + delta.text)
        elif isinstance(delta, Reasoning) and isinstance(last, Reasoning):
            out[-1] = Reasoning(last.text + delta.text)
        elif (
            isinstance(delta, CallArguments) and isinstance(last, CallArguments) and delta.index == last.index
        ):
            out[-1] = CallArguments(last.index, last.text + delta.text)
        else:
            out.append(delta)
    return out


def dumped(value: Any) -> str:
    """Return a value as JSON without spaces, every letter as it is."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def scored(spelling: Spelling, event: Event) -> dict[str, Any]:
    """Return a token's score and those of likelier ones, as chats tell them."""
    said = _score(spelling, event.token, event.logprob)
    said["top_logprobs"] = [_score(spelling, token, logprob) for token, logprob in event.top]
    return said


def _score(spelling: Spelling, token: int, logprob: float | None) -> dict[str, Any]:
    text, spelled = spelling.of(token)
    return {"token": text, "logprob": finite(logprob), "bytes": spelled}


def finite(logprob: float | None) -> float:
    """Return a log-probability that JSON can say."""
    return LEAST if logprob is None else max(logprob, LEAST)
