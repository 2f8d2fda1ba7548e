"""Whether a schema is one: each keyword's value of its kind, at every depth, before anything is made of it.

    {"minItems": 2.0, "items": {"type": "string"}}    sound; 2.0 is the 2 that it means
    {"oneOf": [5]}                                    refused by place: a schema is an object, true or false

So whoever reads a schema afterwards need not look twice. What a reference names is looked at when it is
followed: only there it is known to be a schema.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from danlu.base.errors import UserError

TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_LISTS = ("enum", "required", "anyOf", "oneOf", "allOf", "prefixItems")
_ONE = ("items", "additionalItems", "additionalProperties")
_SEVERAL = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED = ("properties", "patternProperties")


def sound(schema: Any, place: str) -> Any:
    """Return a schema, its counts as whole numbers; refuse values that a keyword cannot have."""
    if isinstance(schema, bool):
        return schema
    if not isinstance(schema, dict):
        raise UserError(f"{place}: a schema is an object, true or false, not {_brief(schema)}", "mend it")
    out = dict(schema)
    for key, value in schema.items():
        fault = _fault(key, value)
        if fault:
            raise UserError(f"{place}: {key}: {fault}, not {_brief(value)}", "see json-schema.org")
        out[key] = _inner(key, value, place)
    return out


def _inner(key: str, value: Any, place: str) -> Any:
    if key in _SEVERAL or (key == "items" and isinstance(value, list)):
        where = place if key == "allOf" else f"{place}/{key}"
        return [sound(one, f"{where}/{number}") for number, one in enumerate(value)]
    if key in _ONE:
        return sound(value, f"{place}/{key}")
    if key in _NAMED:
        return {name: sound(one, f"{place}/{key}/{name}") for name, one in value.items()}
    if key in _COUNTS or (key == "multipleOf" and value == int(value)):
        return int(value)
    return value


def many(value: Any) -> list[Any]:
    """Return what a keyword says that may say one thing or several."""
    return [] if value is None else value if isinstance(value, list) else [value]


def _number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _texts(value: Any) -> bool:
    return all(isinstance(text, str) for text in many(value))


def _known(value: Any) -> bool:
    return bool(many(value)) and all(isinstance(name, str) and name in TYPES for name in many(value))


def _json(value: Any) -> bool:
    try:
        return bool(json.dumps(value, allow_nan=False))
    except ValueError:
        return False


_WANTED: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
    (
        _COUNTS,
        lambda value: _number(value) and value == int(value) and value >= 0,
        "a whole number from 0 on",
    ),
    (_BOUNDS, _number, "a number"),
    (("multipleOf",), lambda value: _number(value) and value > 0, "a number above 0"),
    (_LISTS, lambda value: isinstance(value, list), "a list"),
    (("enum", "anyOf", "oneOf", "allOf"), bool, "a list that is not empty"),
    (("enum", "const"), _json, "what JSON can say"),
    (("required",), _texts, "a list of names"),
    (_NAMED, lambda value: isinstance(value, dict), "an object of schemas"),
    (("pattern", "format"), _texts, "a text"),
    (("$ref",), lambda value: isinstance(value, str), "a text"),
    (("type",), _known, "one of " + ", ".join(TYPES)),
)


def _fault(key: str, value: Any) -> str:
    for keys, holds, wanted in _WANTED:
        if key in keys and not holds(value):
            return f"{wanted} is wanted"
    return ""


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:60] + "..."
