"""Calls after a mark, as a list of objects or, from the eleventh tokenizer on, one by one.

[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "北京"}}]
[TOOL_CALLS]get_weather{"city": "北京"}[TOOL_CALLS]get_time[ARGS]{}
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from danlu.tools.objects import arguments, call_list, call_object
from danlu.tools.tape import Marks, NoCall, Tape, Wait
from danlu.tools.told import Told

OPEN, IDENTITY, ARGUMENTS = "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"
NAME = re.compile(r"[^\s{}\[\]\"<>]*")


class Mistral:
    opens: tuple[str, ...] = (OPEN,)
    first: tuple[str, ...] = ()

    def __init__(self, tools: Sequence[dict[str, Any]] = ()) -> None:
        del tools  # objects say their own types

    def calls(self, tape: Tape, told: Told, mark: str) -> Wait:
        yield from tape.space()
        while (yield from tape.word(OPEN)):
            yield from tape.space()
        following = yield from tape.peek()
        if following == "[":
            tape.take(1)
            yield from call_list(tape, told)
        elif following == "{":
            yield from call_object(tape, told)
        else:
            yield from _named(tape, told)


def _named(tape: Tape, told: Told) -> Wait:
    """Read a name and its arguments."""
    name = yield from tape.match(NAME)
    yield from tape.space()
    found = yield from tape.word(ARGUMENTS, IDENTITY)
    if found == IDENTITY:
        found = yield from tape.until(Marks(ARGUMENTS), lambda identity: None)
    yield from tape.space()
    if not name or (yield from tape.peek()) != "{":
        raise NoCall
    told.begin(name)
    tape.settle()

    def tell(piece: str) -> None:
        told.arguments(piece)
        tape.settle()

    yield from arguments(tape, tell)
