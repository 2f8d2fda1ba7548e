"""A value between two marks: text as it is, everything else as JSON.

Readers know by the schema alone whether something is text. So where it allows text beside objects, numbers
and the like in alternatives, the others are written; and text whose length or form is bounded holds neither
a line's end nor a "<", which might be the beginning of a mark.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from danlu.base.errors import UserError
from danlu.generate.grammar.automaton import both, build
from danlu.generate.grammar.lexemes import Table, Token, bare_text, text_without
from danlu.generate.grammar.merging import Never, types
from danlu.generate.grammar.nodes import Node, Piece, Seq, text
from danlu.generate.grammar.patterns import format_of, pattern
from danlu.generate.grammar.regex import ANY, Cat, Chars, Or, Regex, Rep, chars, source, without, words

if TYPE_CHECKING:
    from danlu.generate.grammar.schema import Compiler

BREAKS = chars("<\n\r").ranges


@dataclass(frozen=True)
class Ending:
    """The mark that ends a value."""

    mark: str
    never: tuple[str, ...]
    """Other marks that would end it too."""
    token: int | None = None
    """Its own word, if it has one."""

    @property
    def node(self) -> Node:
        """The grammar of the mark."""
        return text(self.mark) if self.token is None else Piece(Token(self.token))

    @property
    def free(self) -> Node:
        """The grammar of any text and the mark."""
        if self.token is None:
            return Piece(bare_text(self.mark, self.never))
        return Seq(Piece(text_without(self.mark, *self.never)), self.node)


def value(compiler: Compiler, schema: Any, place: str, ending: Ending) -> Node:
    """Return the grammar of a value and the mark that ends it."""
    flat = schema
    if isinstance(schema, dict):
        compiler.check(schema, place)
        flat = compiler.flat(schema, place, 0)
    if flat is True or flat == {}:
        return ending.free  # what has no type is text to its reader
    if not isinstance(flat, dict) or not _is_text(flat):
        return Seq(compiler.node(_silent(compiler, flat, place), place), ending.node)
    if "enum" in flat or "const" in flat:
        return Seq(Piece(_listed(flat, place)), ending.node)
    if not any(key in flat for key in ("minLength", "maxLength", "pattern", "format")):
        return ending.free
    return Seq(Piece(_bounded(flat, place)), ending.node)


def _is_text(schema: dict[str, Any]) -> bool:
    if "enum" in schema or "const" in schema:
        return any(isinstance(value, str) for value in schema.get("enum", [schema.get("const")]))
    return "string" in types(schema.get("type", []))


def _silent(compiler: Compiler, schema: Any, place: str) -> Any:
    """Return a schema without those of its alternatives that are text."""
    for word in ("anyOf", "oneOf"):
        if isinstance(schema, dict) and word in schema:
            options = [
                option
                for option in schema[word]
                if not (isinstance(option, dict) and _is_text(compiler.flat(option, place, 0)))
            ]
            if not options:
                raise UserError(f"{place}: {word} of texts is not supported in this model's form", "use one")
            schema = {**schema, word: options}
    return schema


def _listed(schema: dict[str, Any], place: str) -> Table:
    listed = schema.get("enum", [schema.get("const")])
    values = [value for value in listed if isinstance(value, str)]
    if "const" in schema:
        values = [value for value in values if value == schema["const"]]
    if not values:
        raise Never(f"{place}: no listed value is allowed")
    for value in values:
        if "<" in value or "\n" in value or not value:
            raise UserError(f"{place}: {value!r} cannot be written between marks", "list another")
    return Table(build(words(values)), f"/{source(words(values))}/")


def _bounded(schema: dict[str, Any], place: str) -> Table:
    """Return text of bounded length or form, without what might be taken for a mark or a line's end."""
    low, high = int(schema.get("minLength", 0)), schema.get("maxLength")
    if high is not None and low > high:
        raise Never(f"{place}: minLength is {low}, maxLength {high}")
    size = Rep(Chars(without(ANY.ranges, BREAKS)), low, None if high is None else int(high))
    every: list[Regex] = [size]
    for key, read in (("pattern", pattern), ("format", format_of)):
        said = schema.get(key, [])
        every += [_unbroken(read(one, place)) for one in (said if isinstance(said, list) else [said])]
    automaton = build(every[0])
    for shape in every[1:]:
        automaton = both(automaton, build(shape))
    if automaton.empty:
        raise Never(f"{place}: no text satisfies it")
    return Table(automaton, " & ".join(f"/{source(shape)}/" for shape in every), long=True, closers="<\n")


def _unbroken(expression: Regex) -> Regex:
    if isinstance(expression, Chars):
        return Chars(without(expression.ranges, BREAKS))
    if isinstance(expression, Cat):
        return Cat(tuple(map(_unbroken, expression.parts)))
    if isinstance(expression, Or):
        return Or(tuple(map(_unbroken, expression.options)))
    return Rep(_unbroken(expression.inner), expression.low, expression.high)
