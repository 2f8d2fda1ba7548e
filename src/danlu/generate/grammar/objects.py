"""Objects: named properties in their order, then further keys.

    {"a": 1, "b": 2, "x": 3}     a required, b optional, x free

A rule for each property says what may follow from there, once for before and once for after the first
comma is due; so n properties cost 2n rules, however many of them are optional.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from danlu.base.errors import UserError
from danlu.generate.grammar.automaton import both, build
from danlu.generate.grammar.lexemes import QUOTE, key_except, spelled, table
from danlu.generate.grammar.merging import Never, merged, named_by
from danlu.generate.grammar.nodes import NONE, Alt, Node, Piece, Repeat, Seq, listed, optional
from danlu.generate.grammar.patterns import pattern
from danlu.generate.grammar.regex import Cat, word
from danlu.generate.grammar.spacing import CLOSE_OBJECT, COLON, COMMA, OPEN_OBJECT

if TYPE_CHECKING:
    from danlu.generate.grammar.schema import Compiler


def object_node(compiler: Compiler, schema: dict[str, Any], place: str, depth: int) -> Node:
    """Return the grammar of an object."""
    required = schema.get("required", [])
    named = _named(compiler, schema, place, depth)
    for name in required:
        if name not in named:
            raise Never(f"{place}: the required property '{name}' cannot be")
    ordered = [(name, named[name], name in required) for name in named]
    low, high = schema.get("minProperties", 0), schema.get("maxProperties")
    ordered = _few(ordered, low, high, place)
    extra = _extra(compiler, schema, list(schema.get("properties", {})) + required, place, depth)
    if extra is not None and high is not None:
        high -= len(ordered)
    if low > len(required) and (extra is None or ordered):
        raise UserError(f"{place}: minProperties above the number of required ones", "require them by name")
    if low > len(required) and low > 1:
        raise UserError(f"{place}: minProperties above 1 cannot be kept: keys may repeat", "name the keys")
    if extra is None or (high is not None and high <= 0):
        return Seq(OPEN_OBJECT, _members(ordered, None, 0, 0), CLOSE_OBJECT)
    return Seq(OPEN_OBJECT, _members(ordered, extra, max(0, low - len(required)), high), CLOSE_OBJECT)


def _few(
    ordered: list[tuple[str, Node, bool]], low: int, high: int | None, place: str
) -> list[tuple[str, Node, bool]]:
    """Return the properties that a limit leaves: where not all fit, the required ones alone."""
    needed = [entry for entry in ordered if entry[2]]
    if high is not None and (len(needed) > high or low > high):
        raise Never(f"{place}: maxProperties is {high}")
    return ordered if high is None or len(ordered) <= high else needed


def _named(compiler: Compiler, schema: dict[str, Any], place: str, depth: int) -> dict[str, Node]:
    """Return the grammar of each property that has one; an optional one that cannot be is left out."""
    properties = dict(schema.get("properties", {}))
    further = schema.get("additionalProperties", True)
    patterns = schema.get("patternProperties", {})
    for name in schema.get("required", []):
        if name not in properties:
            properties[name] = True if named_by(patterns, name, place) else further
    out = {}
    for name, value in properties.items():
        here = f"{place}/properties/{name}"
        try:
            for found in named_by(patterns, name, place):
                value = merged(value, patterns[found], here)
            out[name] = compiler.node(value, here, depth + 1)
        except Never:
            if name in schema.get("required", []):
                raise
    return out


def _extra(
    compiler: Compiler, schema: dict[str, Any], names: list[str], place: str, depth: int
) -> Node | None:
    """Return the grammar of a key that is not named, with its value."""
    taken = tuple(dict.fromkeys(names))
    patterns = schema.get("patternProperties", {})
    if patterns:
        return _by_pattern(compiler, patterns, taken, place, depth)
    further = schema.get("additionalProperties", not names and "properties" not in schema)
    try:
        value = compiler.node(further, f"{place}/additionalProperties", depth + 1)
    except Never:
        return None
    return Seq(Piece(key_except(taken, COLON)), value)


def _by_pattern(
    compiler: Compiler, patterns: dict[str, Any], taken: tuple[str, ...], place: str, depth: int
) -> Node | None:
    shapes = {text: pattern(text, f"{place}/patternProperties") for text in patterns}
    tables = [build(shape) for shape in shapes.values()]
    for number, one in enumerate(tables):
        for other in tables[:number]:
            if not both(one, other).empty:
                raise UserError(
                    f"{place}: two patternProperties may match the same key", "make them exclude each other"
                )
    options: list[Node] = []
    for text, shape in shapes.items():
        try:
            value = compiler.node(patterns[text], f"{place}/patternProperties/{text}", depth + 1)
        except Never:
            continue
        key = key_except(taken, COLON, shape)
        if not key.automaton.empty:
            options.append(Seq(Piece(key), value))
    return Alt(*options) if options else None


def _members(ordered: list[tuple[str, Node, bool]], extra: Node | None, low: int, high: int | None) -> Node:
    members: list[tuple[Node, bool]] = []
    for name, value, required in ordered:
        key = Piece(table(Cat((word(QUOTE + spelled(name) + QUOTE), COLON))))
        members.append((Seq(key, value), required))
    return in_order(members, COMMA, extra, low, high)


def in_order(
    members: list[tuple[Node, bool]],
    comma: Node,
    extra: Node | None = None,
    low: int = 0,
    high: int | None = None,
) -> Node:
    """Return members in their order, those that are not required left out or not, then `extra` ones."""
    needed = next((place for place, (_, required) in enumerate(members) if required), len(members))
    first: Node = NONE if extra is None else listed(extra, comma, low, high)
    # From the first required one on a comma is due in any case: one flat list.
    rest = [
        Seq(comma, member) if required else optional(Seq(comma, member))
        for member, required in members[needed + 1 :]
    ]
    later: Node = Seq(*rest, *([] if extra is None else [Repeat(Seq(comma, extra), low, high)]))
    for member, required in reversed(members[: needed + 1]):
        first = Seq(member, later) if required else Alt(Seq(member, later), first)
        one = Seq(comma, member)
        later = Seq(one if required else optional(one), later)
    return first
