"""Calls as a Python list, where an answer begins with one.

    [get_weather(city="北京", days=3), get_time()]

Read are names and literals; nothing is run. Each argument is told once it is complete, as JSON: tuples and
sets as lists, True, true, None and null as what they mean. Positional arguments have no name, so what has
some is no call.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Generator, Sequence
from typing import Any

from danlu.tools.tape import NoCall, Tape, Wait
from danlu.tools.told import Told, json_text

NAME = re.compile(r"[\w.]*")
SIGNS = re.compile(r"""["'\\(\[{)\]},\n\r\t\x00]""")
NAMED = {"true": True, "false": False, "null": None}


class Pythonic:
    opens: tuple[str, ...] = ()
    first: tuple[str, ...] = ("[",)

    def __init__(self, tools: Sequence[dict[str, Any]] = ()) -> None:
        del tools  # literals say their own types

    def calls(self, tape: Tape, told: Told, mark: str) -> Wait:
        tape.take(1)
        while True:
            yield from tape.space()
            yield from _call(tape, told)
            yield from tape.space()
            if not (yield from tape.word(",")):
                break
        if (yield from tape.word("]")):
            tape.settle()


def _call(tape: Tape, told: Told) -> Wait:
    name = yield from tape.match(NAME)
    if not name or not (yield from tape.word("(")):
        raise NoCall
    count = 0
    while True:
        yield from tape.space()
        if (yield from tape.word(")")):
            break
        key = yield from tape.match(NAME)
        yield from tape.space()
        if not key.isidentifier() or not (yield from tape.word("=")):
            raise NoCall
        value = yield from _literal(tape)
        if not count:
            told.begin(name)
        told.arguments(f"{', ' if count else '{'}{json.dumps(key)}: {value}")
        tape.settle()
        count += 1
        yield from tape.word(",")
    if not count:
        told.begin(name)
    told.arguments("}" if count else "{}")
    tape.settle()


def _literal(tape: Tape) -> Generator[None, None, str]:
    """Read up to the comma or bracket that ends an argument; return its value as JSON."""
    pieces: list[str] = []
    depth, quote = 0, ""
    while True:
        found = SIGNS.search(tape.text, tape.at)
        pieces.append(tape.take((found.start() if found else len(tape.text)) - tape.at))
        if found is None or (found.group() == "\\" and found.end() >= len(tape.text)):
            if not (yield from tape.wait()):
                raise NoCall
            continue
        sign = found.group()
        if not quote and not depth and sign in ",)":
            return _json("".join(pieces))
        if sign == "\\":
            pieces.append(tape.take(2))
            continue
        tape.take(1)
        if quote:
            quote = "" if sign == quote else quote
            pieces.append(repr(sign)[1:-1] if sign in "\n\r\t\0" else sign)
        else:
            quote = sign if sign in "\"'" else ""
            depth += (sign in "([{") - (sign in ")]}")
            pieces.append(sign)


def _json(text: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            return json_text(_value(ast.parse(text.strip(), mode="eval").body), allow_nan=False)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise NoCall from None


def _value(node: ast.expr) -> Any:
    """Return the value of a literal. Raises ValueError for what is none."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | None):
        return node.value
    if isinstance(node, ast.Name) and node.id in NAMED:
        return NAMED[node.id]
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return [_value(each) for each in node.elts]
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {_value(key): _value(value) for key, value in zip(node.keys, node.values) if key}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        number = _value(node.operand)
        if isinstance(number, int | float) and not isinstance(number, bool):
            return -number if isinstance(node.op, ast.USub) else number
    raise ValueError
