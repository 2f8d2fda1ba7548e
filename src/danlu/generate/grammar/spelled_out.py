"""Arguments that a model writes one by one instead of as one JSON object.

    <parameter=city>Paris</parameter>      text bare, up to the mark that ends it; all else as JSON
    city="Paris", days=3                   Python's keywords

They come in the schema's order, the optional ones or not; further ones than it names are not written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from danlu.base.errors import UserError
from danlu.generate.grammar import bare
from danlu.generate.grammar.bare import Ending
from danlu.generate.grammar.merging import Never
from danlu.generate.grammar.nodes import NONE, Node, Seq, optional, text
from danlu.generate.grammar.objects import in_order
from danlu.generate.grammar.schema import Compiler

WHOLE = ("anyOf", "oneOf", "enum", "const", "patternProperties", "minProperties", "maxProperties")
"""What is said of an object as a whole, which arguments one by one cannot keep."""


def properties(compiler: Compiler, place: str) -> list[tuple[str, Any, bool]]:
    """Return the arguments of a function with their schemas, and whether each is required."""
    flat = compiler.flat({"allOf": [compiler.root, {"type": "object"}]}, place, 0)
    if isinstance(flat, bool):
        raise Never(f"{place}: false allows no value")
    for word in WHOLE:
        if word in flat:
            raise UserError(
                f"{place}: keyword '{word}' is not supported in this model's form", "leave it out"
            )
    given = dict(flat.get("properties", {}))
    required = flat.get("required", [])
    for key in required:
        given.setdefault(key, flat.get("additionalProperties", True))
    return [(key, value, key in required) for key, value in given.items()]


def arguments(schema: Any, place: str, before: Callable[[str], Node], ending: Ending) -> Node:
    """Return the grammar of arguments between marks, each on its own line."""
    compiler = Compiler(schema, place)
    out: Node = NONE
    for key, value, required in reversed(properties(compiler, place)):
        if not key or any(sign in "<>\n" for sign in key) or key != key.strip():
            raise UserError(f"{place}: {key!r} cannot be written in this model's form", "rename it")
        try:
            said = bare.value(compiler, value, f"{place}/properties/{key}", ending)
        except Never:
            if required:
                raise
            continue
        one = Seq(before(key), said, text("\n"))
        out = Seq(one if required else optional(one), out)
    return out


def keywords(schema: Any, place: str) -> Node:
    """Return the grammar of Python's keyword arguments."""
    compiler = Compiler(schema, place)
    compiler.python = True
    members: list[tuple[Node, bool]] = []
    for key, value, required in properties(compiler, place):
        if not key.isidentifier():
            raise UserError(f"{place}: {key!r} is no Python name", "rename it")
        try:
            node = compiler.node(value, f"{place}/properties/{key}")
        except Never:
            if required:
                raise
            continue
        members.append((Seq(text(f"{key}="), node), required))
    return in_order(members, text(", "))
