"""Whether a value is what a JSON schema says, and where it is not, in words that help to mend it.

    faults({"days": "two"}, {"properties": {"days": {"type": "integer"}}, "required": ["city"]})
        ["'city' is missing", "'days' is text, not a whole number"]

Keywords known are those that tools use; others are let pass. References lead into the schema itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

DEEPEST = 64
TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "string": ("text", lambda value: isinstance(value, str)),
    "integer": (
        "a whole number",
        lambda value: isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1,
    ),
    "number": ("a number", lambda value: isinstance(value, int | float) and not isinstance(value, bool)),
    "boolean": ("true or false", lambda value: isinstance(value, bool)),
    "array": ("a list", lambda value: isinstance(value, list)),
    "object": ("an object", lambda value: isinstance(value, Mapping)),
    "null": ("null", lambda value: value is None),
}
BOUNDS: dict[str, tuple[type | tuple[type, ...], Callable[[Any, Any], bool], str]] = {
    "minimum": ((int, float), lambda value, bound: value >= bound, "is less than {}"),
    "maximum": ((int, float), lambda value, bound: value <= bound, "is more than {}"),
    "exclusiveMinimum": ((int, float), lambda value, bound: value > bound, "is not more than {}"),
    "exclusiveMaximum": ((int, float), lambda value, bound: value < bound, "is not less than {}"),
    "minLength": (str, lambda value, bound: len(value) >= bound, "is shorter than {} letters"),
    "maxLength": (str, lambda value, bound: len(value) <= bound, "is longer than {} letters"),
    "minItems": (list, lambda value, bound: len(value) >= bound, "has fewer than {} items"),
    "maxItems": (list, lambda value, bound: len(value) <= bound, "has more than {} items"),
}


Ring = frozenset[str]
"""The references that led to where a value is looked at: one of them again would lead nowhere else."""


def faults(value: Any, schema: Any) -> list[str]:
    """Return what is wrong with a value, [] if nothing is."""
    return list(_faults(value, schema, schema, "", 0))


def _faults(
    value: Any, schema: Any, root: Any, where: str, depth: int, ring: Ring = frozenset()
) -> Iterator[str]:
    if schema is False:
        yield f"{_called(where)} must not be there"
    if not isinstance(schema, Mapping) or depth > DEEPEST:
        return
    if isinstance(reference := schema.get("$ref"), str) and reference not in ring:
        yield from _faults(value, _referred(reference, root), root, where, depth + 1, ring | {reference})
    if kinds := _kinds(schema.get("type")):
        if not any(TYPES[kind][1](value) for kind in kinds):
            yield f"{_called(where)} is {kind_of(value)}, not {' or '.join(TYPES[kind][0] for kind in kinds)}"
            return
    allowed = (
        schema["enum"]
        if isinstance(schema.get("enum"), list)
        else [schema["const"]]
        if "const" in schema
        else None
    )
    if allowed is not None and not any(_same(value, each) for each in allowed):
        yield f"{_called(where)} is {value!r}, not one of: {', '.join(map(str, allowed[:20]))}"
    yield from _bounds(value, schema, where)
    yield from _choices(value, schema, root, where, depth, ring)
    if isinstance(value, Mapping):
        yield from _members(value, schema, root, where, depth)
    if isinstance(value, list) and "items" in schema:
        for number, each in enumerate(value):
            yield from _faults(each, schema["items"], root, f"{where}[{number}]", depth + 1)


def _members(
    value: Mapping[str, Any], schema: Mapping[str, Any], root: Any, where: str, depth: int
) -> Iterator[str]:
    properties = _if(Mapping, schema.get("properties"), {})
    required = _if(list, schema.get("required"), [])
    dot = f"{where}." if where else ""
    yield from (f"'{dot}{key}' is missing" for key in required if isinstance(key, str) and key not in value)
    others = schema.get("additionalProperties", True)
    for key, each in value.items():
        if key in properties:
            yield from _faults(each, properties[key], root, f"{dot}{key}", depth + 1)
        elif isinstance(others, Mapping):
            yield from _faults(each, others, root, f"{dot}{key}", depth + 1)
        elif others is False and where:  # of the arguments themselves, whoever asks says it better
            yield f"'{dot}{key}' is not known"


def _bounds(value: Any, schema: Mapping[str, Any], where: str) -> Iterator[str]:
    for keyword, (kinds, holds, words) in BOUNDS.items():
        bound = schema.get(keyword)
        if isinstance(bound, int | float) and isinstance(value, kinds) and not isinstance(value, bool):
            if not holds(value, bound):
                yield f"{_called(where)} {words.format(bound)}"
    pattern = schema.get("pattern")
    if (
        isinstance(pattern, str)
        and isinstance(value, str)
        and len(value) < 1000
        and not _matches(pattern, value)
    ):
        yield f"{_called(where)} does not match {pattern}"


def _matches(pattern: str, value: str) -> bool:
    try:
        return re.search(pattern, value) is not None
    except re.error:
        return True  # written for another engine


def _choices(
    value: Any, schema: Mapping[str, Any], root: Any, where: str, depth: int, ring: Ring
) -> Iterator[str]:
    for each in _if(list, schema.get("allOf"), []):
        yield from _faults(value, each, root, where, depth + 1, ring)
    for keyword in ("anyOf", "oneOf"):
        if isinstance(choices := schema.get(keyword), list) and choices:
            found = [list(_faults(value, each, root, where, depth + 1, ring)) for each in choices]
            if all(found):
                yield min(found, key=len)[0]


def _if(kind: type, given: Any, otherwise: Any) -> Any:
    """Return what a keyword says where it is of the kind it has to be: a stranger's schema may be broken."""
    return given if isinstance(given, kind) else otherwise


def _kinds(given: Any) -> list[str]:
    return [
        kind
        for kind in (given if isinstance(given, list) else [given])
        if isinstance(kind, str) and kind in TYPES
    ]


def _referred(reference: str, root: Any) -> Any:
    found = root
    for step in reference.lstrip("#").strip("/").split("/") if reference.startswith("#") else ["?"]:
        found = (
            found.get(step.replace("~1", "/").replace("~0", "~"))
            if isinstance(found, Mapping) and step
            else found
        )
    return found


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def kind_of(value: Any) -> str:
    """Return the words for a value's type: the first that fits."""
    return next((words for words, fits in TYPES.values() if fits(value)), "something else")


def _called(where: str) -> str:
    return f"'{where}'" if where else "the value"
