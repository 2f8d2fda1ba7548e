"""`oneOf`: alternatives of which exactly one may hold.

Where no value can satisfy two of them, that is the same as `anyOf`. It is shown by their types, by listed
values, or by a required property that tells them apart; where it cannot be shown, the schema is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from danlu.base.errors import UserError
from danlu.generate.grammar.merging import same, types


def exclusive(options: list[Any], place: str, flat: Callable[[Any], Any]) -> None:
    """Refuse alternatives of which two might hold at once."""
    for number, one in enumerate(options):
        for before, other in enumerate(options[:number]):
            if not _apart(one, other, flat, 0):
                raise UserError(
                    f"{place}/oneOf: alternatives {before} and {number} may both hold",
                    "use anyOf, or tell them apart by type or by a required property with a const",
                )


def _apart(one: Any, other: Any, flat: Callable[[Any], Any], depth: int) -> bool:
    if one is False or other is False:
        return True
    if depth > 8 or not isinstance(one, dict) or not isinstance(other, dict):
        return False
    one, other = flat(one), flat(other)
    if not isinstance(one, dict) or not isinstance(other, dict):
        return one is False or other is False
    listed, more = _values(one), _values(other)
    if listed is not None and more is not None:
        return not any(same(left, right) for left in listed for right in more)
    kinds, others = _kinds(one), _kinds(other)
    if kinds is not None and others is not None and not kinds & others:
        return True
    if kinds != {"object"} or others != {"object"}:
        return _bounds_apart(one, other) if kinds == others and kinds is not None else False
    return _objects_apart(one, other, flat, depth)


def _values(schema: dict[str, Any]) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _kinds(schema: dict[str, Any]) -> set[str] | None:
    """Return the types a schema allows, whole numbers being numbers; None where it does not say."""
    values = _values(schema)
    if values is not None:
        return {_kind(value) for value in values}
    if "type" not in schema:
        return None
    return {"number" if name == "integer" else name for name in types(schema["type"])}


def _kind(value: Any) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "string", dict: "object", list: "array"}
    return names.get(type(value), "null")


def _bounds_apart(one: dict[str, Any], other: dict[str, Any]) -> bool:
    for low, high in (("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems")):
        for left, right in ((one, other), (other, one)):
            if low in left and high in right and left[low] > right[high]:
                return len(_kinds(one) or ()) == 1
    return False


def _objects_apart(
    one: dict[str, Any], other: dict[str, Any], flat: Callable[[Any], Any], depth: int
) -> bool:
    for left, right in ((one, other), (other, one)):
        own, theirs = left.get("properties", {}), right.get("properties", {})
        for name in left.get("required", []):
            if right.get("additionalProperties") is False and name not in theirs:
                if not right.get("patternProperties"):
                    return True
            if name in right.get("required", []) and name in own and name in theirs:
                if _apart(own[name], theirs[name], flat, depth + 1):
                    return True
    return False
