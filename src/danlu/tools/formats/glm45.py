"""Calls spelled out as a name, then keys and values in tags.

    <tool_call>get_weather
    <arg_key>city</arg_key>
    <arg_value>北京</arg_value>
    </tool_call>

A value is all that stands between its tags, white space too.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from typing import Any

from danlu.tools.spelled import Spelled, Types
from danlu.tools.tape import Marks, NoCall, Tape, Wait
from danlu.tools.told import Told

OPEN, CLOSE = "<tool_call>", "</tool_call>"
KEY, KEY_END, VALUE, VALUE_END = "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"
NAME = re.compile(r"[^<>\s]*")
TAGS = Marks(KEY, CLOSE, OPEN)
KEY_ENDS, VALUE_ENDS = Marks(KEY_END, CLOSE), Marks(VALUE_END, CLOSE)


class Glm45:
    opens: tuple[str, ...] = (OPEN,)
    first: tuple[str, ...] = ()

    def __init__(self, tools: Sequence[dict[str, Any]] = ()) -> None:
        self._types = Types(tools)

    def calls(self, tape: Tape, told: Told, mark: str) -> Wait:
        yield from tape.space()
        name = yield from tape.match(NAME)
        yield from tape.space()
        tag = yield from tape.word(KEY, CLOSE)
        if not name or not tag:
            raise NoCall
        call = Spelled(tape, told, name, self._types)
        while tag == KEY:
            if not (yield from _argument(tape, call)):
                return
            tag = yield from _tag(tape, told)
        if tag:
            call.end()
        if tag == OPEN:
            tape.at -= len(OPEN)


def _tag(tape: Tape, told: Told) -> Generator[None, None, str]:
    """Read the next tag; text where none belongs is told."""
    found = yield from tape.next_mark(TAGS, told.content)
    tape.settle()
    return found


def _argument(tape: Tape, call: Spelled) -> Generator[None, None, bool]:
    """Read a key and its value; False if the answer ends in them."""
    key: list[str] = []
    if (yield from tape.until(KEY_ENDS, key.append)) != KEY_END:
        return call.cut_off_in("".join(key))
    yield from tape.space()
    if not (yield from tape.word(VALUE)):
        return call.cut_off_in("".join(key))
    end = yield from tape.until(VALUE_ENDS, call.argument("".join(key).strip()))
    if not end:
        call.cut_off()
        return False
    call.complete()
    if end == CLOSE:
        tape.at -= len(CLOSE)
    return True
