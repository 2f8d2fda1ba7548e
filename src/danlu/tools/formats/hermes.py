"""Calls as JSON objects between tags; one an object, any number of them.

    <tool_call>
    {"name": "get_weather", "arguments": {"city": "北京"}}
    </tool_call>

Between the object and the closing tag only white space belongs to the call; what else a model writes
there is told as text. A closing tag that never comes is not missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from danlu.tools.objects import call_object
from danlu.tools.tape import Marks, Tape, Wait
from danlu.tools.told import Told


class Hermes:
    opens: tuple[str, ...] = ("<tool_call>",)
    close = "</tool_call>"
    first: tuple[str, ...] = ()

    def __init__(self, tools: Sequence[dict[str, Any]] = ()) -> None:
        del tools  # objects say their own types

    def calls(self, tape: Tape, told: Told, mark: str) -> Wait:
        yield from tape.space()
        yield from call_object(tape, told, stop=self.close)
        yield from closed(tape, told, self.close, *self.opens)


def closed(tape: Tape, told: Told, close: str, again: str) -> Wait:
    """Read up to the closing mark, or to where the next call opens; text before it is told."""
    found = yield from tape.next_mark(Marks(close, again), told.content)
    tape.settle()
    if found == again:
        tape.at -= len(again)
