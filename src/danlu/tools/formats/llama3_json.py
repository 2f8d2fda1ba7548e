"""Calls as bare JSON objects, where an answer begins with one or after a control token.

    {"name": "get_weather", "parameters": {"city": "北京"}}; {"name": "get_time", "parameters": {}}
    <|python_tag|>{"name": "get_weather", "parameters": {"city": "北京"}}

Nothing but its keys tells a call from an answer in JSON: it has a name, and arguments or parameters, and
besides them at most a type or an id. Objects in the middle of a text are text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from danlu.tools.objects import call_object
from danlu.tools.tape import NoCall, Tape, Wait
from danlu.tools.told import Told


class Llama3Json:
    opens: tuple[str, ...] = ("<|python_tag|>",)
    first: tuple[str, ...] = ("{",)

    def __init__(self, tools: Sequence[dict[str, Any]] = ()) -> None:
        del tools  # objects say their own types

    def calls(self, tape: Tape, told: Told, mark: str) -> Wait:
        yield from tape.space()
        more = "{"
        while more == "{":
            yield from call_object(tape, told, bare=False)
            yield from tape.space()
            yield from tape.word(";", ",")
            yield from tape.space()
            more = yield from tape.peek()
        if more:
            raise NoCall  # what stands between the calls and further text is text
