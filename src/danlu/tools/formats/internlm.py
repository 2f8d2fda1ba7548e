"""Calls as JSON objects between control tokens.

<|action_start|><|plugin|>
{"name": "get_weather", "parameters": {"city": "北京"}}
<|action_end|>
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from danlu.tools.formats.hermes import closed
from danlu.tools.objects import call_object
from danlu.tools.tape import Tape, Wait
from danlu.tools.told import Told

OPEN, CLOSE = "<|action_start|><|plugin|>", "<|action_end|>"


class InternLM:
    opens: tuple[str, ...] = (OPEN,)
    first: tuple[str, ...] = ()

    def __init__(self, tools: Sequence[dict[str, Any]] = ()) -> None:
        del tools  # objects say their own types

    def calls(self, tape: Tape, told: Told, mark: str) -> Wait:
        yield from tape.space()
        yield from call_object(tape, told, stop=CLOSE)
        yield from closed(tape, told, CLOSE, OPEN)
