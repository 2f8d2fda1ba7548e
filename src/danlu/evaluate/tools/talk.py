"""A talk: somebody asks, the model calls tools or answers, tools run, and so on to the answer.

    answer(messages, tools, run)      yields what the model is to be asked next, is sent what it says

      user       ->  Ask(messages, tools)  ->  calls   ->  each is run, once   ->  Ask  ->  ...  ->  answer

It is a generator, so whoever drives it decides how the model is asked: one talk at a time at a prompt,
hundreds at once in a batch. After `rounds` rounds of calls the model is asked without tools, and what it
says is the answer. Everything said stays in the messages, calls and their results too; what a model
thought is told back to it while it works on a question, and dropped with the next one, as templates do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from danlu.base.errors import UserError
from danlu.tools.parse import Call, Message
from danlu.tools.run import read

ROUNDS = 3
Messages = list[dict[str, Any]]
Run = Callable[[str, str], str]
"""Runs a tool: its name and its arguments as JSON text give its result, JSON text too."""
OPENINGS = (
    "<tool_call>",
    "[TOOL_CALLS]",
    "<function=",
    "<｜tool▁calls▁begin｜>",
    "<|action_start|>",
    "functools[",
    "<|tool_call|>",
    "<|python_tag|>",
)
"""How calls begin that could not be read; such text arrives as the answer."""


class Refused(UserError):
    """This one request cannot be answered; others may."""


@dataclass(frozen=True)
class Ask:
    """What a model is to be asked: OpenAI's messages, and the tools it may call, None for none."""

    messages: Messages
    tools: list[dict[str, Any]] | None


@dataclass(frozen=True)
class Made:
    """A call that was made, in which round of calls, and what came of it."""

    name: str
    arguments: str
    result: str
    round: int

    @property
    def values(self) -> dict[str, Any] | None:
        """The arguments, None where they are no JSON object."""
        found = read(self.arguments)
        return found if isinstance(found, dict) else None

    @property
    def failed(self) -> bool:
        """Say whether the tool answered with an error."""
        try:
            found = json.loads(self.result)
        except ValueError:
            return False
        return isinstance(found, dict) and "error" in found


@dataclass
class Exchange:
    """What one question led to."""

    calls: list[Made] = field(default_factory=list)
    answer: str = ""
    turns: int = 0
    """How often the model spoke."""
    unreadable: bool = False
    """It began a call that could not be read."""


def answer(
    messages: Messages, tools: list[dict[str, Any]], run: Run, rounds: int = ROUNDS
) -> Generator[Ask, Message, Exchange]:
    """Ask a model until it answers the last message, running what it calls; messages grow in place."""
    for message in messages:
        message.pop("reasoning_content", None)
    done = Exchange()
    for number in range(rounds + 1):
        offered = tools if number < rounds else None
        said = yield Ask(list(messages), offered or None)
        done.turns += 1
        calls = said.calls if offered else []
        if offered and not calls:  # where none is offered, nobody reads calls
            done.unreadable |= any(mark in (said.content or "") for mark in OPENINGS)
        messages.append(spoken(said, calls, sum("tool_calls" in each for each in messages)))
        if not calls:
            break
        for call, made in zip(calls, messages[-1]["tool_calls"]):
            result = run(call.name, call.arguments)
            done.calls.append(Made(call.name, call.arguments, result, number))
            messages.append({"role": "tool", "tool_call_id": made["id"], "content": result})
    done.answer = said.content or ""
    return done


def spoken(said: Message, calls: Sequence[Call], before: int = 0) -> dict[str, Any]:
    """Return what a model said as OpenAI's message; ids are of nine signs, as some templates want them."""
    message: dict[str, Any] = {"role": "assistant", "content": said.content or ("" if not calls else None)}
    if said.reasoning:
        message["reasoning_content"] = said.reasoning
    if calls:
        message["tool_calls"] = [
            {
                "id": f"call{before:03}{number:02}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for number, call in enumerate(calls)
        ]
    return message
