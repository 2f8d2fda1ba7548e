"""A JSON schema as a grammar.

    {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}

    open  "n":  integer  close

Every answer of the grammar is valid JSON and satisfies the schema. The reverse is not promised: keys come in
the order of `properties`, further ones only where `additionalProperties` is said or no property is named;
each character has one spelling; between two pieces stands at most a space, or a line end and an indentation.
A keyword that cannot be kept is refused by name and place; none is passed over in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import unquote

from danlu.base.errors import UserError, nearest
from danlu.generate.grammar import objects, scalars
from danlu.generate.grammar.choices import exclusive
from danlu.generate.grammar.merging import ANNOTATIONS, Never, merged, said, types
from danlu.generate.grammar.nodes import NONE, Alt, Node, Repeat, Rule, Seq, listed, optional
from danlu.generate.grammar.sound import TYPES, sound
from danlu.generate.grammar.spacing import CLOSE_ARRAY, COMMA, OPEN_ARRAY

DEEPEST = 64
"""Schemas within schemas."""
LARGEST = 20_000
"""Schemas in all, those that references repeat included."""

OBJECT = (
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
    "minProperties",
    "maxProperties",
)
ARRAY = ("items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems")
STRING = ("minLength", "maxLength", "pattern", "format")
NUMBER = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
BY_TYPE = {"object": OBJECT, "array": ARRAY, "string": STRING, "number": NUMBER}
KNOWN = frozenset(
    (*OBJECT, *ARRAY, *STRING, *NUMBER, "type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref")
)


class Compiler:
    """One schema on its way to a grammar."""

    def __init__(self, root: Any, place: str) -> None:
        self.root = sound(root, place)
        self.targets: dict[str, Any] = {}
        self.rules: dict[str, Rule] = {}
        self.any: Rule | None = None
        self.made = 0
        self.python = False
        """Whether the values are Python's rather than JSON's: True, None."""

    def node(self, schema: Any, place: str, depth: int = 0) -> Node:
        """Return the grammar of a schema; `Never` where nothing satisfies it."""
        self.made += 1
        if depth > DEEPEST or self.made > LARGEST:
            raise UserError(f"{place}: the schema is too deep or too large", "make it smaller")
        if schema is True:
            return self.anything()
        if schema is False:
            raise Never(f"{place}: false allows no value")
        self.check(schema, place)
        schema = said(schema)
        if set(schema) == {"$ref"}:
            return self._rule(schema["$ref"], place, depth)
        return self._plain(self.flat(schema, place, depth), place, depth)

    def anything(self) -> Node:
        """Return the grammar of any value."""
        if self.any is None:
            self.any = Rule("any")
            self.any.body = Alt(*(self._typed(name, {}, "", 0) for name in TYPES if name != "integer"))
        return self.any

    def check(self, schema: dict[str, Any], place: str) -> None:
        """Refuse keywords that cannot be kept."""
        for key in schema:
            if key in ANNOTATIONS or key in KNOWN or (key == "nullable" and schema[key] is False):
                continue
            raise UserError(f"{place}: keyword '{key}' is not supported", nearest(key, KNOWN))
        if schema.get("uniqueItems") is True:
            problem = f"{place}: keyword 'uniqueItems' is not supported"
            raise UserError(problem, "leave it out, or list what may come")

    def _rule(self, reference: str, place: str, depth: int) -> Node:
        if reference not in self.rules:
            rule = self.rules[reference] = Rule(reference)
            try:
                rule.body = self.node(self.target(reference, place), reference, depth + 1)
            except Never:
                del self.rules[reference]
                raise
        return self.rules[reference]

    def target(self, reference: str, place: str) -> Any:
        """Return the schema that a reference names."""
        if reference not in self.targets:
            self.targets[reference] = sound(self._named(reference, place), reference)
        return self.targets[reference]

    def _named(self, reference: str, place: str) -> Any:
        if not reference.startswith("#"):
            raise UserError(f"{place}: $ref {reference!r} leads out of the schema", "use '#/$defs/...'")
        found = self.root
        for part in reference.removeprefix("#").split("/")[1:]:
            part = unquote(part).replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(part)] if isinstance(found, list) else found[part]
            except (KeyError, IndexError, ValueError, TypeError):
                raise UserError(f"{place}: $ref {reference!r} names nothing", "mend the reference") from None
        return found

    def flat(self, schema: Any, place: str, depth: int) -> Any:
        """Return a schema with its references and allOf merged into it."""
        self.made += 1
        if self.made > LARGEST:
            raise UserError(f"{place}: the schema is too large", "make it smaller")
        if depth > DEEPEST:
            raise UserError(f"{place}: $ref and allOf lead in a circle", "put the recursion under a property")
        if isinstance(schema, bool) or not ({"$ref", "allOf"} & schema.keys()):
            return schema
        out: Any = {key: value for key, value in schema.items() if key not in ("$ref", "allOf")}
        parts = [self.target(schema["$ref"], place)] if "$ref" in schema else []
        for part in [*parts, *schema.get("allOf", [])]:
            if not isinstance(part, bool):
                self.check(part, place)
                part = self.flat(said(part), place, depth + 1)
            out = merged(out, part, place)
        return out

    def _plain(self, schema: Any, place: str, depth: int) -> Node:
        """Return the grammar of a schema without references."""
        if isinstance(schema, bool):
            return self.node(schema, place, depth)
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return self._options(schema, word, place, depth)
        if "const" in schema or "enum" in schema:
            return scalars.enumerated(schema, place, self.python)
        names = types(schema["type"]) if "type" in schema else _implied(schema)
        if not names:
            return self.anything()
        if "number" in names:
            names = [name for name in names if name != "integer"]
        return self.one_of([partial(self._typed, name, schema, place, depth) for name in names])

    def _options(self, schema: dict[str, Any], word: str, place: str, depth: int) -> Node:
        rest = {key: value for key, value in schema.items() if key != word}
        makes: list[Callable[[], Node]] = []
        whole: list[Any] = []
        for number, option in enumerate(schema[word]):
            here = f"{place}/{word}/{number}"
            if word == "oneOf":
                whole.append(self.flat(said(option) if isinstance(option, dict) else option, here, depth))
            makes.append(partial(self.both, rest, option, here, depth))
        if word == "oneOf":
            exclusive(whole, place, lambda one: self.flat(said(one), place, depth))
        return self.one_of(makes)

    def both(self, rest: dict[str, Any], option: Any, place: str, depth: int) -> Node:
        """Return the grammar of one alternative, and of what stands beside the alternatives."""
        if not rest:
            return self.node(option, place, depth + 1)
        if isinstance(option, dict):
            self.check(option, place)
        return self.node({"allOf": [option, rest]}, place, depth + 1)

    def one_of(self, makes: list[Callable[[], Node]]) -> Node:
        """Return the grammar of those alternatives that anything satisfies."""
        nodes, never = [], Never("there is no alternative")
        for make in makes:
            try:
                nodes.append(make())
            except Never as reason:
                never = reason
        if not nodes:
            raise never
        return nodes[0] if len(nodes) == 1 else Alt(*nodes)

    def _typed(self, name: str, schema: dict[str, Any], place: str, depth: int) -> Node:
        if name == "object":
            return objects.object_node(self, schema, place, depth)
        if name == "array":
            return self._array(schema, place, depth)
        return scalars.scalar(name, schema, place, self.python)

    def _array(self, schema: dict[str, Any], place: str, depth: int) -> Node:
        prefix, items = schema.get("prefixItems", []), schema.get("items", True)
        if isinstance(items, list):
            prefix, items = items, schema.get("additionalItems", True)
        low, high = schema.get("minItems", 0), schema.get("maxItems")
        if high is not None and low > high:
            raise Never(f"{place}: minItems is {low}, maxItems {high}")
        try:
            item = (
                self.node(items, f"{place}/items", depth + 1) if high is None or high > len(prefix) else None
            )
        except Never:
            if low > len(prefix):
                raise
            item = None
        return Seq(OPEN_ARRAY, self._items(prefix, item, low, high, place, depth), CLOSE_ARRAY)

    def _items(
        self, prefix: list[Any], item: Node | None, low: int, high: int | None, place: str, depth: int
    ) -> Node:
        count = len(prefix) if high is None else min(len(prefix), high)
        if count == 0:
            return NONE if item is None else listed(item, COMMA, low, high)
        rest: Node = NONE
        if item is not None:
            more = None if high is None else high - count
            rest = Repeat(Seq(COMMA, item), max(0, low - count), more)
        for number in reversed(range(count)):
            try:
                one = self.node(prefix[number], f"{place}/prefixItems/{number}", depth + 1)
            except Never:
                if number < low:
                    raise
                rest = NONE
                continue
            rest = Seq(one, rest) if number == 0 else Seq(COMMA, one, rest)
            if number >= low:
                rest = optional(rest)
        return rest


def _implied(schema: dict[str, Any]) -> list[str]:
    """Return the types a schema without `type` speaks of."""
    return [name for name, keys in BY_TYPE.items() if any(key in schema for key in keys)]
