"""Calls between control tokens, each a kind, a name and a fenced object.

<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather
```json
{"city": "北京"}
```<｜tool▁call▁end｜><｜tool▁calls▁end｜>
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from danlu.tools.objects import arguments
from danlu.tools.tape import Marks, NoCall, Tape, Wait
from danlu.tools.told import Told

OPEN, CLOSE = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
CALL, CALL_END, BETWEEN = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"
KIND, NAME = re.compile(r"\w*"), re.compile(r"[^<\n`{]*")
FENCE = "```"


class DeepSeekV3:
    opens: tuple[str, ...] = (OPEN, CALL)
    first: tuple[str, ...] = ()

    def __init__(self, tools: Sequence[dict[str, Any]] = ()) -> None:
        del tools  # objects say their own types

    def calls(self, tape: Tape, told: Told, mark: str) -> Wait:
        found = mark
        if mark == OPEN:
            yield from tape.space()
            found = yield from tape.word(CALL, CLOSE)
        while found == CALL:
            yield from _call(tape, told)
            yield from tape.space()
            found = yield from tape.word(CALL, CLOSE)
        if not found and not tape.cut_off(CALL, CLOSE):
            raise NoCall
        tape.settle()


def _call(tape: Tape, told: Told) -> Wait:
    yield from tape.match(KIND)
    if not (yield from tape.word(BETWEEN)):
        raise NoCall
    name = (yield from tape.match(NAME)).strip()
    yield from tape.space()
    if (yield from tape.word(FENCE)):
        yield from tape.word("json")
    yield from tape.space()
    if not name or (yield from tape.peek()) != "{":
        raise NoCall
    told.begin(name)
    tape.settle()

    def tell(piece: str) -> None:
        told.arguments(piece)
        tape.settle()

    yield from arguments(tape, tell, CALL_END)
    yield from tape.space()
    yield from tape.word(FENCE)
    yield from tape.next_mark(Marks(CALL_END), told.content)
    tape.settle()
