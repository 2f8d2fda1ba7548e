"""Several JSON schemas that must all hold, as one.

    {"allOf": [{"type": ["string", "null"]}, {"maxLength": 3}]}
    {"type": ["string", "null"], "maxLength": 3}

Only what says something stays. What two schemas cannot both want makes the whole impossible (`Never`).
Alternatives on both sides are multiplied out, up to `MOST`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from danlu.base.errors import UserError
from danlu.generate.grammar.patterns import finds

Schema = dict[str, Any]
MOST = 64
"""Alternatives that come of multiplying out."""

ANNOTATIONS = frozenset(
    "$schema $id $comment $defs definitions $anchor id title description default examples deprecated readOnly"
    " writeOnly contentMediaType contentEncoding".split()
)


class Never(Exception):
    """No value can satisfy a schema; says why."""


def said(schema: Schema) -> Schema:
    """Return what of a schema says something."""
    return {key: value for key, value in schema.items() if key not in ANNOTATIONS}


def merged(one: Any, other: Any, place: str) -> Any:
    """Return a schema of which exactly what satisfies both is an instance."""
    if isinstance(one, bool) or isinstance(other, bool):
        if one is False or other is False:
            return False
        return other if one is True else one
    out = dict(one)
    for key, value in other.items():
        if key not in out or out[key] == value:
            out[key] = value
        elif key in _TOGETHER:
            out[key] = _TOGETHER[key](out[key], value, place)
        else:
            raise UserError(f"{place}: {key} stands in two schemas that must both hold", "say it once")
    _closed_keys(one, other, out, place)
    return out


def _closed_keys(one: Schema, other: Schema, out: Schema, place: str) -> None:
    """Let what one schema says of further keys hold for those the other one names."""
    if "properties" not in out:
        return
    names = dict(out["properties"])
    for here, there in ((one, other), (other, one)):
        own = here.get("properties", {})
        for name in there.get("properties", {}):
            if name not in own and here.get("additionalProperties", True) is not True:
                if not named_by(here.get("patternProperties", {}), name, place):
                    names[name] = merged(names[name], here["additionalProperties"], place)
    out["properties"] = names


def named_by(patterns: Schema, name: str, place: str) -> list[str]:
    """Return the patterns that are found in a name."""
    return [text for text in patterns if finds(text, name, f"{place}/patternProperties")]


def types(value: Any) -> list[str]:
    """Return the types that `type` names."""
    return [value] if isinstance(value, str) else list(value)


def _types(one: Any, other: Any, place: str) -> list[str]:
    left, right = types(one), types(other)
    both = [name for name in left if name in right or (name == "integer" and "number" in right)]
    both += [name for name in right if name == "integer" and "number" in left and name not in both]
    if not both:
        raise Never(f"{place}: type cannot be both {one} and {other}")
    return both


def same(one: Any, other: Any) -> bool:
    """Return whether two JSON values are equal: true is not 1, but 1.0 is."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


def _enums(one: list[Any], other: list[Any], place: str) -> list[Any]:
    both = [value for value in one if any(same(value, known) for known in other)]
    if not both:
        raise Never(f"{place}: no value is in both lists of enum")
    return both


def _consts(one: Any, other: Any, place: str) -> Any:
    if not same(one, other):
        raise Never(f"{place}: const cannot be both {one!r} and {other!r}")
    return one


def _by_name(one: Schema, other: Schema, place: str) -> Schema:
    out = dict(one)
    for name, schema in other.items():
        try:
            out[name] = merged(out[name], schema, f"{place}/{name}") if name in out else schema
        except Never:
            out[name] = False
    return out


def _prefixes(one: list[Any], other: list[Any], place: str) -> list[Any]:
    if len(one) != len(other):
        raise UserError(f"{place}: prefixItems of two lengths must both hold", "make them equally long")
    return [merged(left, right, place) for left, right in zip(one, other)]


def _product(one: list[Any], other: list[Any], place: str) -> list[Any]:
    if len(one) * len(other) > MOST:
        raise UserError(f"{place}: more than {MOST} alternatives multiply out", "nest fewer anyOf")
    out = []
    for left in one:
        for right in other:
            out.append({"allOf": [left, right]})
    return out


def _several(one: Any, other: Any, place: str) -> list[Any]:
    left = one if isinstance(one, list) else [one]
    right = other if isinstance(other, list) else [other]
    return [*left, *(value for value in right if value not in left)]


def _multiples(one: Any, other: Any, place: str) -> int:
    if not (isinstance(one, int) and isinstance(other, int)):
        raise UserError(f"{place}: multipleOf {one} and {other} must both hold", "say it once")
    return math.lcm(one, other)


def _first(choose: Callable[..., Any]) -> Callable[[Any, Any, str], Any]:
    return lambda one, other, place: choose(one, other)


_TOGETHER: dict[str, Callable[[Any, Any, str], Any]] = {
    "type": _types,
    "enum": _enums,
    "const": _consts,
    "properties": _by_name,
    "patternProperties": _by_name,
    "required": lambda one, other, place: [*one, *(name for name in other if name not in one)],
    "additionalProperties": merged,
    "items": merged,
    "prefixItems": _prefixes,
    "anyOf": _product,
    "oneOf": _product,
    "pattern": _several,
    "format": _several,
    "multipleOf": _multiples,
    "minimum": _first(max),
    "exclusiveMinimum": _first(max),
    "minLength": _first(max),
    "minItems": _first(max),
    "minProperties": _first(max),
    "maximum": _first(min),
    "exclusiveMaximum": _first(min),
    "maxLength": _first(min),
    "maxItems": _first(min),
    "maxProperties": _first(min),
}
