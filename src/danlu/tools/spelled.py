"""Arguments that a model spells out one by one without quotes, told as a JSON object while they arrive.

    <parameter=city>北京</parameter>  <parameter=days>3</parameter>     {"city": "北京", "days": 3}

Whether `3` is a number or text is told by the tool's schema; without one it is text. Text is told letter
by letter; what may turn out a number, a list or nothing is told once it is complete. What cannot be read
as any of the types that the schema allows stays text, and whoever runs the call says what is wrong.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from danlu.tools.definitions import function_of, parameters_of
from danlu.tools.tape import NoCall, Tape, Tell
from danlu.tools.told import Told, json_text

KINDS = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}


class Types:
    """The types of all arguments of all tools."""

    def __init__(self, tools: Sequence[Mapping[str, Any]]) -> None:
        self._tools = {function_of(tool).get("name"): tool for tool in tools}

    def of(self, tool: str) -> dict[str, set[str]]:
        """Return the types that each argument of a tool may have."""
        if tool not in self._tools:
            return {}
        properties = parameters_of(self._tools[tool]).get("properties") or {}
        return {name: types(schema) for name, schema in properties.items()}


def types(schema: Any) -> set[str]:
    """Return the types that a schema allows; text if it does not say.

    >>> sorted(types({"anyOf": [{"type": "integer"}, {"enum": [None]}]}))
    ['integer', 'null']
    """
    if not isinstance(schema, Mapping):
        return {"string"}
    said = schema.get("type")
    found = {each for each in (said if isinstance(said, list) else [said]) if isinstance(each, str)}
    if isinstance(values := schema.get("enum"), list):
        found |= {KINDS.get(type(value), "string") for value in values}
    for keyword in ("anyOf", "oneOf", "allOf"):
        if isinstance(choices := schema.get(keyword), list):
            found = found.union(*map(types, choices))
    return found or {"string"}


class Spelled:
    """One call whose arguments are spelled out."""

    def __init__(self, tape: Tape, told: Told, name: str, known: Types) -> None:
        self._tape, self._told = tape, told
        self._types = known.of(name)
        self._count = 0
        self._kept: list[str] = []
        told.begin(name)
        tape.settle()

    def argument(self, name: str) -> Tell:
        """Begin an argument; return what takes its value as it comes."""
        self._tell(f"{', ' if self._count else '{'}{json.dumps(name, ensure_ascii=False)}: ")
        self._count += 1
        self._kept, self._wanted = [], self._types.get(name, {"string"})
        if self._wanted == {"string"}:
            self._tell('"')
            return self._letters
        return self._keep

    def complete(self) -> None:
        """The argument's value is complete."""
        if self._wanted == {"string"}:
            self._tell('"')
        else:
            self._tell(json_text(meant("".join(self._kept), self._wanted)))

    def cut_off(self) -> None:
        """The answer ends in the middle of an argument: what there was of it is told as it is."""
        if self._wanted != {"string"}:
            self._tell("".join(self._kept))

    def cut_off_in(self, name: str) -> bool:
        """The answer ends in an argument's name, which is told; elsewhere it is none. Returns False."""
        if not self._tape.ended or self._tape.at < len(self._tape.text):
            raise NoCall
        self._tell(
            f"{', ' if self._count else '{'}{json.dumps(name, ensure_ascii=False)[:-1]}" if name else ""
        )
        return False

    def end(self) -> None:
        """There are no more arguments."""
        self._tell("}" if self._count else "{}")

    def _letters(self, text: str) -> None:
        self._tell(json.dumps(text, ensure_ascii=False)[1:-1])

    def _keep(self, text: str) -> None:
        self._kept.append(text)
        self._tape.settle()

    def _tell(self, text: str) -> None:
        self._told.arguments(text)
        self._tape.settle()


def meant(text: str, kinds: set[str]) -> Any:
    """Return the value that a text stands for: the first of these types that it can be read as.

    >>> meant("3", {"integer"}), meant("3.0", {"number"}), meant("null", {"string", "null"})
    (3, 3, None)
    >>> meant("[1", {"array"})
    '[1'
    """
    for kind, read in READ.items():
        if kind in kinds:
            try:
                return read(text)
            except (ValueError, RecursionError):
                continue
    return text


def _null(text: str) -> None:
    if text.strip().lower() != "null":
        raise ValueError


def _number(text: str) -> int | float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return int(number) if number == int(number) else number


def _boolean(text: str) -> bool:
    word = text.strip().lower()
    if word not in ("true", "1", "false", "0"):
        raise ValueError
    return word in ("true", "1")


def _nested(text: str) -> Any:
    value = json.loads(text)
    json.dumps(value, allow_nan=False)
    return value


READ: dict[str, Callable[[str], Any]] = {
    "null": _null,
    "integer": int,
    "number": _number,
    "boolean": _boolean,
    "object": _nested,
    "array": _nested,
    "string": str,
}
