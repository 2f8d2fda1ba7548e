"""What an answer says, piece by piece, and whole.

    Reasoning("weather, so a tool")  Content("Let me look.")
    CallBegin(0, "get_weather")  CallArguments(0, '{"city": ')  CallArguments(0, '"北京"}')

Pieces of one answer, put together, are the whole answer, wherever its text was cut while it arrived.
White space next to a call is part of how calls are written, and dropped: chat templates write it again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Content:
    """Text of the answer itself."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Text that was thought before answering."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegin:
    """A call begins; calls are numbered from 0."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """More of a call's arguments, as JSON text."""

    index: int
    text: str


Delta = Content | Reasoning | CallBegin | CallArguments


@dataclass(frozen=True)
class Call:
    """One call, its arguments as JSON text; a call cut off has what there was of them."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Message:
    """A whole answer, taken apart."""

    content: str | None = None
    reasoning: str | None = None
    calls: list[Call] = field(default_factory=list)


class Told:
    """Gathers what an answer turns out to say, until somebody takes it."""

    def __init__(self) -> None:
        self.calls = 0
        self._deltas: list[Delta] = []
        self._bare = True  # nothing but white space since the beginning or the last call
        self._space = ""
        self._dropped = ""  # what stood between text and the calls after it, should more text follow them

    def content(self, text: str) -> None:
        text = self._space + text
        said = text.rstrip()
        self._space = text[len(said) :]
        if said:
            glued = self._bare and not said[0].isspace()
            self._add(Content(self._dropped + said if glued else said))
            self._bare, self._dropped = False, ""

    def reasoning(self, text: str) -> None:
        if text:
            self._add(Reasoning(text))

    def begin(self, name: str) -> None:
        if not self._bare:
            self._dropped = self._space
        self._space, self._bare = "", True
        self._deltas.append(CallBegin(self.calls, name))
        self.calls += 1

    def arguments(self, text: str) -> None:
        """Say more of the arguments of the call that began last."""
        if text:
            self._add(CallArguments(self.calls - 1, text))

    def end(self) -> None:
        """The answer is complete: white space at its end is content, unless a call is right before it."""
        if self._space and not (self._bare and self.calls):
            self._add(Content(self._space))
        self._space = ""

    def take(self) -> list[Delta]:
        """Return what was said since this was asked last."""
        deltas, self._deltas = self._deltas, []
        return deltas

    def _add(self, delta: Content | Reasoning | CallArguments) -> None:
        last = self._deltas[-1] if self._deltas else None
        if isinstance(last, Content) and isinstance(delta, Content):
            self._deltas[-1] = Content(last.text + delta.text)
        elif isinstance(last, Reasoning) and isinstance(delta, Reasoning):
            self._deltas[-1] = Reasoning(last.text + delta.text)
        elif isinstance(last, CallArguments) and isinstance(delta, CallArguments):
            self._deltas[-1] = CallArguments(last.index, last.text + delta.text)
        else:
            self._deltas.append(delta)


def json_text(value: Any, **how: Any) -> str:
    r"""Return a value as JSON text that can be sent and stored: half a character stays an escape.

    >>> print(json_text(["北京", "\ud800"]))
    ["北京", "\ud800"]
    """
    return json.dumps(value, ensure_ascii=False, **how).encode(errors="backslashreplace").decode()


def together(deltas: Iterable[Delta]) -> Message:
    """Return the whole that pieces of one answer are.

    >>> together([Content("It is "), Content("sunny."), CallBegin(0, "f"), CallArguments(0, "{}")])
    Message(content='It is sunny.', reasoning=None, calls=[Call(name='f', arguments='{}')])
    """
    content: list[str] = []
    reasoning: list[str] = []
    names: list[str] = []
    arguments: list[list[str]] = []
    for delta in deltas:
        if isinstance(delta, Content):
            content.append(delta.text)
        elif isinstance(delta, Reasoning):
            reasoning.append(delta.text)
        elif isinstance(delta, CallBegin):
            names.append(delta.name)
            arguments.append([])
        else:
            arguments[delta.index].append(delta.text)
    calls = [Call(name, "".join(said)) for name, said in zip(names, arguments)]
    return Message("".join(content) or None, "".join(reasoning) or None, calls)
