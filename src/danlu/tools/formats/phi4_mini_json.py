"""Calls as a list of JSON objects after a word.

functools[{"name": "get_weather", "arguments": {"city": "北京"}}]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from danlu.tools.objects import call_list
from danlu.tools.tape import Tape, Wait
from danlu.tools.told import Told


class Phi4MiniJson:
    opens: tuple[str, ...] = ("functools[",)
    first: tuple[str, ...] = ()

    def __init__(self, tools: Sequence[dict[str, Any]] = ()) -> None:
        del tools  # objects say their own types

    def calls(self, tape: Tape, told: Told, mark: str) -> Wait:
        yield from call_list(tape, told)
