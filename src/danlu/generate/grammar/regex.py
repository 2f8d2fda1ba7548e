"""Regular expressions as trees, written once and read twice: by the grammar library and by our automata.

    Cat(Chars("a"), Rep(Chars("0-9"), 1, None))     ->  r"[\\x{61}][\\x{30}-\\x{39}]+"  for the library
                                                    ->  an automaton over bytes         (automaton.py)

Characters are code points. `in_json` rewrites an expression over characters into one over the text that
stands between the quotes of a JSON string: one spelling a character, the short escapes where JSON asks for
an escape, no \\uXXXX. What cannot be written so (most control characters, halves of characters) is not said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Ranges = tuple[tuple[int, int], ...]
LAST = 0x10FFFF


@dataclass(frozen=True)
class Chars:
    """One character out of some ranges of code points, sorted and disjoint."""

    ranges: Ranges


@dataclass(frozen=True)
class Cat:
    """One after another."""

    parts: tuple[Regex, ...]


@dataclass(frozen=True)
class Or:
    """One of several."""

    options: tuple[Regex, ...]


@dataclass(frozen=True)
class Rep:
    """The same, `low` to `high` times; None is without end."""

    inner: Regex
    low: int
    high: int | None


Regex = Chars | Cat | Or | Rep
EMPTY = Cat(())
NOTHING = Chars(())


def union(*many: Ranges) -> Ranges:
    """Return the ranges that hold what any of these hold.

    >>> union(((1, 3),), ((4, 5), (9, 9)))
    ((1, 5), (9, 9))
    """
    out: list[tuple[int, int]] = []
    for low, high in sorted(pair for ranges in many for pair in ranges):
        if out and low <= out[-1][1] + 1:
            out[-1] = out[-1][0], max(out[-1][1], high)
        else:
            out.append((low, high))
    return tuple(out)


def inverse(ranges: Ranges) -> Ranges:
    """Return all code points outside of these ranges."""
    out, start = [], 0
    for low, high in union(ranges):
        if low > start:
            out.append((start, low - 1))
        start = high + 1
    return (*out, (start, LAST)) if start <= LAST else tuple(out)


def common(one: Ranges, other: Ranges) -> Ranges:
    """Return what both hold."""
    return inverse(union(inverse(one), inverse(other)))


def without(one: Ranges, other: Ranges) -> Ranges:
    """Return what the first holds and the second does not."""
    return common(one, inverse(other))


CHARACTERS = inverse(((0xD800, 0xDFFF),))  # halves of a UTF-16 pair are no characters
ANY = Chars(CHARACTERS)
# JSON's short escapes; everything else that would need one stays unsaid.
ESCAPES = {8: "b", 9: "t", 10: "n", 12: "f", 13: "r", 34: '"', 92: "\\"}
PLAIN = without(CHARACTERS, ((0, 0x1F), (34, 34), (92, 92), (0x7F, 0x7F)))


def chars(text: str) -> Chars:
    """Return one of the characters of a text; `a-z` are the ends of a range.

    >>> chars("0-9_").ranges
    ((48, 57), (95, 95))
    """
    ranges, at = [], 0
    while at < len(text):
        wide = text[at + 1 : at + 2] == "-" and at + 2 < len(text)
        ranges.append((ord(text[at]), ord(text[at + 2 if wide else at])))
        at += 3 if wide else 1
    return Chars(union(tuple(ranges)))


def word(text: str) -> Regex:
    """Return the expression of one text."""
    return Cat(tuple(Chars(((ord(sign), ord(sign)),)) for sign in text))


def words(texts: Sequence[str]) -> Regex:
    """Return one of several texts."""
    return Or(tuple(word(text) for text in texts))


def maybe(inner: Regex) -> Regex:
    """Return an expression or nothing."""
    return Rep(inner, 0, 1)


def in_json(expression: Regex) -> Regex:
    """Return how what an expression says is spelled inside the quotes of a JSON string."""
    if isinstance(expression, Cat):
        return Cat(tuple(map(in_json, expression.parts)))
    if isinstance(expression, Or):
        return Or(tuple(map(in_json, expression.options)))
    if isinstance(expression, Rep):
        return Rep(in_json(expression.inner), expression.low, expression.high)
    escaped = [
        word("\\" + letter)
        for code, letter in ESCAPES.items()
        if any(low <= code <= high for low, high in expression.ranges)
    ]
    plain = common(expression.ranges, PLAIN)
    options = ([Chars(plain)] if plain else []) + escaped
    return options[0] if len(options) == 1 else Or(tuple(options)) if options else NOTHING


def source(expression: Regex) -> str:
    """Return an expression as the grammar library reads it, every character as a code point."""
    if isinstance(expression, Chars):
        if not expression.ranges:
            return "[^\\x{0}-\\x{10FFFF}]"
        return "[" + "".join(map(_span, expression.ranges)) + "]"
    if isinstance(expression, Cat):
        return "".join(map(source, expression.parts))
    if isinstance(expression, Or):
        return "(?:" + "|".join(map(source, expression.options)) + ")"
    high = "" if expression.high is None else expression.high
    return f"(?:{source(expression.inner)}){{{expression.low},{high}}}"


def _span(ends: tuple[int, int]) -> str:
    low, high = ends
    # The library refuses the surrogates as ends, and they are never inside a range of ours.
    return f"\\x{{{low:X}}}" if low == high else f"\\x{{{low:X}}}-\\x{{{high:X}}}"


def utf8(low: int, high: int) -> list[list[tuple[int, int]]]:
    """Return the runs of byte ranges that spell the code points low to high in UTF-8.

    >>> utf8(0x61, 0x7A)
    [[(97, 122)]]
    >>> utf8(0x7F, 0x80)
    [[(127, 127)], [(194, 194), (128, 128)]]
    """
    for end in (0x7F, 0x7FF, 0xFFFF):
        if low <= end < high:
            return utf8(low, end) + utf8(end + 1, high)
    if high <= 0x7F:
        return [[(low, high)]]
    for bits in (6, 12, 18):
        block = (1 << bits) - 1
        if low >> bits != high >> bits:
            if low & block:
                return utf8(low, low | block) + utf8((low | block) + 1, high)
            if high & block != block:
                return utf8(low, (high & ~block) - 1) + utf8(high & ~block, high)
    return [list(zip(chr(low).encode(), chr(high).encode(), strict=True))]
