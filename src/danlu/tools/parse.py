"""A model's answer taken apart while it is written: thoughts, text, calls.

    parser = parse.parser("hermes", "qwen3")
    parser.push('Let me look.\\n<tool_')                    [Content("Let me look.\\n")]
    parser.push('call>\\n{"name": "f", "argum')             []
    parser.push('ents": {"x": ')                           [CallBegin(0, "f"), CallArguments(0, '{"x": ')]
    parser.push('1}}\\n</tool_call>')                       [CallArguments(0, "1}")]
    parser.flush()                                         []

`parse` does the same with an answer that is complete. Both always say the same, wherever the text was
cut, and no text is lost:

- What opens like a call and is none, or is cut off before its name and the beginning of its arguments
  are known, is content, as it was written.
- A call that has begun stays one. If its arguments are cut off or are no valid JSON they are told as
  they are; whoever runs calls has to check them anyway.
- Text after a call is content too.

The names of formats are those that vLLM gives its parsers. Where this differs from them, and why, is
said in tests/tools/test_parse_as_vllm.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from danlu.tools.formats import Format, format_of
from danlu.tools.reasoning import think, thoughts_of
from danlu.tools.tape import Marks, NoCall, Tape, Tell, Wait
from danlu.tools.told import (
    Call,
    CallArguments,
    CallBegin,
    Content,
    Delta,
    Message,
    Reasoning,
    Told,
    together,
)

__all__ = [
    "Call",
    "CallArguments",
    "CallBegin",
    "Content",
    "Delta",
    "Message",
    "Parser",
    "Reasoning",
    "parse",
    "parser",
    "together",
]


class Parser:
    """One answer on its way."""

    def __init__(self, format: Format | None, reasoning: str | None, thinking: bool) -> None:
        self._tape = Tape()
        self._told = Told()
        self._reader = answer(self._tape, self._told, format, reasoning, thinking)
        next(self._reader)

    def push(self, text: str) -> list[Delta]:
        """Take in more text, of any length, and return what it tells."""
        assert not self._tape.ended, "the answer has ended"
        self._tape.push(text)
        next(self._reader)
        return self._told.take()

    def flush(self) -> list[Delta]:
        """Return what is left to tell now that the answer has ended, in the middle of a call or not."""
        if not self._tape.ended:
            self._tape.ended = True
            for _ in self._reader:
                raise AssertionError("a reader waits for text that will not come")
        return self._told.take()


def parser(
    tool_parser: str | None,
    reasoning_parser: str | None,
    *,
    thinking: bool = False,
    tools: Sequence[dict[str, Any]] = (),
) -> Parser:
    """Return a parser for one answer.

    `thinking`: the prompt has opened `<think>` already. `tools`: in either OpenAI form; formats that
    write values without quotes take the types of arguments from them.
    """
    format = format_of(tool_parser, tools) if tool_parser else None
    return Parser(format, thoughts_of(reasoning_parser) if reasoning_parser else None, thinking)


def parse(
    text: str,
    tool_parser: str | None,
    reasoning_parser: str | None = None,
    *,
    thinking: bool = False,
    tools: Sequence[dict[str, Any]] = (),
) -> Message:
    """Return a whole answer taken apart.

    >>> parse('<tool_call>{"name": "f", "arguments": {"x": 1}}</tool_call>', "hermes").calls
    [Call(name='f', arguments='{"x": 1}')]
    """
    reader = parser(tool_parser, reasoning_parser, thinking=thinking, tools=tools)
    return together([*reader.push(text), *reader.flush()])


def answer(tape: Tape, told: Told, format: Format | None, reasoning: str | None, thinking: bool) -> Wait:
    """Read an answer: thoughts, then text with calls in it."""

    def call(mark: str, tell: Tell) -> Wait:
        tape.record(mark)
        yield from _calls(tape, told, format, mark.lstrip("\n"), tell)

    opens = format.opens if format else ()
    if reasoning:
        yield from think(tape, told, reasoning, thinking, opens, call)
    if format and format.first:
        tape.record()
        yield from tape.space()
        begins = (yield from tape.peek()) in [*format.first]
        yield from _calls(tape, told, format if begins else None, "", told.content)
    marks = Marks(*opens)
    while mark := (yield from tape.until(marks, told.content)):
        yield from call(mark, told.content)
    told.end()


def _calls(tape: Tape, told: Told, format: Format | None, mark: str, tell: Tell) -> Wait:
    """Read calls; what is none, and what was not settled, is told as text."""
    try:
        if format is None:
            raise NoCall
        yield from format.calls(tape, told, mark)
    except NoCall:
        pass
    tell(tape.given_back())
