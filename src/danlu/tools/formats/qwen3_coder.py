"""Calls spelled out in tags, one argument after the other.

    <tool_call>
    <function=get_weather>
    <parameter=city>
    北京
    </parameter>
    </function>
    </tool_call>

The line ends around a value belong to the tags. A tag that a model forgets to close is closed by the
next one, and `<function=` opens a call without `<tool_call>` too.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from typing import Any

from danlu.tools.spelled import Spelled, Types
from danlu.tools.tape import Marks, NoCall, Tape, Wait
from danlu.tools.told import Told

OPEN, CLOSE = "<tool_call>", "</tool_call>"
FUNCTION, FUNCTION_END = "<function=", "</function>"
PARAMETER, PARAMETER_END = "<parameter=", "</parameter>"
NAME, KEY = re.compile(r"[^<>\s]*"), re.compile(r"[^<>\n]*")
TAGS = Marks(PARAMETER, FUNCTION_END, CLOSE, OPEN)
ENDS = Marks(
    *(f"{line}{tag}" for tag in (PARAMETER_END, PARAMETER, FUNCTION_END, CLOSE) for line in ("\n", ""))
)


class Qwen3Coder:
    opens: tuple[str, ...] = (OPEN, FUNCTION)
    first: tuple[str, ...] = ()

    def __init__(self, tools: Sequence[dict[str, Any]] = ()) -> None:
        self._types = Types(tools)

    def calls(self, tape: Tape, told: Told, mark: str) -> Wait:
        if mark == OPEN:
            yield from tape.space()
            if not (yield from tape.word(FUNCTION)):
                raise NoCall
        name = yield from tape.match(NAME)
        if not name or not (yield from tape.word(">")):
            raise NoCall
        call = Spelled(tape, told, name, self._types)
        while (tag := (yield from _tag(tape, told))) == PARAMETER:
            if not (yield from _argument(tape, call)):
                return
        if not tag:
            return
        call.end()
        if tag == OPEN:
            tape.at -= len(OPEN)
        elif tag == FUNCTION_END:
            yield from tape.space()
            if (yield from tape.word(CLOSE)) or tape.cut_off(CLOSE):
                tape.settle()


def _tag(tape: Tape, told: Told) -> Generator[None, None, str]:
    """Read the next tag; text where none belongs is told."""
    found = yield from tape.next_mark(TAGS, told.content)
    tape.settle()
    return found


def _argument(tape: Tape, call: Spelled) -> Generator[None, None, bool]:
    """Read an argument; False if the answer ends in it."""
    key = yield from tape.match(KEY)
    if not (yield from tape.word(">")):
        return call.cut_off_in(key)
    tell = call.argument(key.strip())
    yield from tape.skip("\n", 1)
    end = yield from tape.until(ENDS, tell)
    if not end:
        call.cut_off()
        return False
    call.complete()
    if not end.endswith(PARAMETER_END):
        tape.at -= len(end.lstrip("\n"))
    return True
