"""Values that hold no others: strings, numbers, true, false, null, and listed values of any kind."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from danlu.base.errors import UserError
from danlu.generate.grammar import numerals
from danlu.generate.grammar.automaton import both
from danlu.generate.grammar.lexemes import Lexeme, Quoted, Table, quoted, table
from danlu.generate.grammar.merging import Never, same, types
from danlu.generate.grammar.nodes import LONGEST, Alt, Node, Piece
from danlu.generate.grammar.nodes import text as literal
from danlu.generate.grammar.patterns import format_of, pattern
from danlu.generate.grammar.regex import word, words
from danlu.generate.grammar.sound import many

NUMERIC_FORMATS = ("int32", "int64", "float", "double")
"""Annotations of OpenAPI on numbers, where `format` says nothing in JSON Schema."""

APART = 100
"""Listed values up to which each is a lexeme of its own, so that the fewest words among them are found."""


def scalar(name: str, schema: dict[str, Any], place: str, python: bool = False) -> Node:
    """Return the grammar of one type that is neither object nor array."""
    if python and name in _PYTHON:
        return Piece(table(words(_PYTHON[name])))
    lexeme = _SCALARS[name](schema, place)
    if isinstance(lexeme, Table) and lexeme.automaton.empty:
        raise Never(f"{place}: no {name} satisfies it")
    return Piece(lexeme)


def _string(schema: dict[str, Any], place: str) -> Lexeme:
    low, high = schema.get("minLength", 0), schema.get("maxLength")
    if high is not None and low > high:
        raise Never(f"{place}: minLength is {low}, maxLength {high}")
    if low > LONGEST:
        raise UserError(f"{place}: minLength is {low}, no answer is that long", f"{LONGEST} at most")
    shapes = [pattern(text, place) for text in many(schema.get("pattern"))]
    shapes += [format_of(name, place) for name in many(schema.get("format")) if name not in NUMERIC_FORMATS]
    if not shapes:
        return Quoted(low, high)
    out = quoted(shapes[0], low, high)
    for shape in shapes[1:]:
        other = quoted(shape)
        out = Table(both(out.automaton, other.automaton), f"{out.lark} & {other.lark}", True, '"')
    return out


def _integer(schema: dict[str, Any], place: str) -> Lexeme:
    lows = [math.ceil(schema["minimum"])] if "minimum" in schema else []
    highs = [math.floor(schema["maximum"])] if "maximum" in schema else []
    if "exclusiveMinimum" in schema:
        lows.append(math.floor(schema["exclusiveMinimum"]) + 1)
    if "exclusiveMaximum" in schema:
        highs.append(math.ceil(schema["exclusiveMaximum"]) - 1)
    step = schema.get("multipleOf", 1)
    try:
        if step != int(step):
            raise numerals.Unable
        return table(numerals.integers(max(lows, default=None), min(highs, default=None), int(step)))
    except numerals.Unable:
        raise UserError(
            f"{place}: multipleOf {step} is not supported here",
            f"1, 2, 5 or a power of 10; or at most {numerals.ENUMERATED} multiples from minimum to maximum",
        ) from None


def _number(schema: dict[str, Any], place: str) -> Lexeme:
    if "multipleOf" in schema:  # of a fraction no two readers say the same
        return _integer(schema, place)
    low, open_low = _bound(schema, "minimum", "exclusiveMinimum", max)
    high, open_high = _bound(schema, "maximum", "exclusiveMaximum", min)
    if low is not None and high is not None and (low > high or (low == high and (open_low or open_high))):
        raise Never(f"{place}: no number lies between {low} and {high}")
    if any(bound is not None and abs(bound) > numerals.MOST for bound in (low, high)):
        return _far(low, high, open_low, open_high, place)
    return numerals.decimals(low, high, open_low, open_high)


def _far(low: Decimal | None, high: Decimal | None, open_low: bool, open_high: bool, place: str) -> Lexeme:
    """Return the numbers within bounds of which one lies beyond all that are written."""
    if (low is not None and low > numerals.MOST) or (high is not None and high < -numerals.MOST):
        raise UserError(f"{place}: a bound has more than {numerals.DIGITS} digits", "use a smaller one")
    inner_low = low if low is not None and low >= -numerals.MOST else None
    inner_high = high if high is not None and high <= numerals.MOST else None
    if inner_low is None and inner_high is None:  # an exponent might lead beyond
        return numerals.decimals(Decimal(-numerals.MOST), Decimal(numerals.MOST), False, False)
    return numerals.decimals(inner_low, inner_high, open_low, open_high)


def _bound(
    schema: dict[str, Any], closed: str, opened: str, tighter: Callable[..., Decimal]
) -> tuple[Decimal | None, bool]:
    values = [(Decimal(repr(schema[key])), key == opened) for key in (closed, opened) if key in schema]
    if not values:
        return None, False
    bound = tighter(value for value, _ in values)
    return bound, any(is_open for value, is_open in values if value == bound)


_SCALARS: dict[str, Callable[[dict[str, Any], str], Lexeme]] = {
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": lambda schema, place: table(words(["true", "false"])),
    "null": lambda schema, place: table(word("null")),
}


_PYTHON = {"boolean": ["True", "False"], "null": ["None"]}


def enumerated(schema: dict[str, Any], place: str, python: bool = False) -> Node:
    """Return the grammar of listed values, those that what stands beside the list excludes left out."""
    values = schema.get("enum", [schema.get("const")])
    if "const" in schema:
        values = [value for value in values if same(value, schema["const"])]
    rest = {key: value for key, value in schema.items() if key not in ("enum", "const")}
    values = [value for value in values if _holds(value, rest, place)]
    if not values:
        raise Never(f"{place}: no listed value is allowed")
    write = _in_python if python else _in_json
    texts = list(dict.fromkeys(write(value) for value in values))
    if len(texts) > APART:
        return Piece(table(words(texts)))
    return Alt(*map(literal, texts))


def _in_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _in_python(value: Any) -> str:
    """Return a value as Python writes it, its texts as JSON does."""
    if isinstance(value, dict):
        pairs = (f"{_in_json(key)}: {_in_python(inner)}" for key, inner in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_in_python, value)) + "]"
    return repr(value) if value is None or isinstance(value, bool) else _in_json(value)


def _holds(value: Any, rest: dict[str, Any], place: str) -> bool:
    """Return whether a listed value satisfies what else its schema says."""
    if "type" in rest and not any(_is(value, name) for name in types(rest["type"])):
        return False
    others = {key: what for key, what in rest.items() if key != "type"}
    if not others:
        return True
    if isinstance(value, (dict, list)):
        raise UserError(f"{place}: {next(iter(others))} beside listed objects or arrays", "drop one of them")
    name = next(name for name in ("null", "boolean", "integer", "number", "string") if _is(value, name))
    if name in ("null", "boolean"):
        return True
    lexeme = _SCALARS["number" if name == "integer" and "multipleOf" not in others else name](others, place)
    return _spells(lexeme, json.dumps(value, ensure_ascii=False))


def _spells(lexeme: Lexeme, text: str) -> bool:
    state = lexeme.start
    for symbol in text.encode().decode("latin-1"):
        state = lexeme.step(state, symbol)
        if state is None:
            return False
    return lexeme.accepts(state)


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    kinds: dict[str, tuple[type, ...]] = {
        "null": (type(None),),
        "number": (int, float),
        "string": (str,),
        "object": (dict,),
        "array": (list,),
    }
    return name in kinds and isinstance(value, kinds[name])
