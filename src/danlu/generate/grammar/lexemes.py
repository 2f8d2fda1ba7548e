"""Lexemes: the pieces an answer is spelled with, each a regular language that knows its shortest end.

    Literal     one fixed text, such as  {"name": "
    Table       an expression: a number, a pattern, a choice of words
    Quoted      a JSON string of so and so many characters; counted, not tabled: lengths may be large
    Token       one token that is not text, such as a tokenizer's own <tool_call>

A lexeme reads symbols, one-character strings: below 256 a byte, above it a token that is not text
(256 + its id). `rest(state)` is a shortest text to an accepted end, and following it is consistent:
after its first symbol the rest is the rest. `long` lexemes are those most words of a vocabulary may
continue: strings and free text. They can be left only through one of their `closers`; any symbol else
leads to a state at most `farthest` symbols from an end.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, Protocol

from danlu.generate.grammar.automaton import Automaton, both, build, excluding
from danlu.generate.grammar.regex import (
    ANY,
    CHARACTERS,
    Cat,
    Chars,
    Or,
    Regex,
    Rep,
    in_json,
    source,
    without,
    word,
    words,
)

TOKENS_FROM = 256
"""The first symbol that is a whole token."""

FEW = 40
"""Symbols that may follow, up to which each word is looked at by itself."""

State = Any


class Lexeme(Protocol):
    """What the walk over a grammar asks of a lexeme."""

    lark: str
    lazy: bool
    start: State
    long: bool
    closers: frozenset[str]
    farthest: int

    def step(self, state: State, symbol: str) -> State | None:
        """Return the state after one symbol, or None where it cannot follow."""

    def accepts(self, state: State) -> bool:
        """Say whether the lexeme may end here."""

    def rest(self, state: State) -> str:
        """Return a shortest way to an end."""

    def stuck(self, state: State) -> bool:
        """Say whether nothing can follow within the lexeme."""

    def settled(self, state: State) -> bool:
        """Say whether whole plain characters never lengthen the rest."""

    def firsts(self, state: State) -> Iterable[str] | None:
        """Return the symbols that may follow; None where they are too many to tell apart."""


class Literal:
    """One fixed text."""

    lazy = False
    long = False
    closers: frozenset[str] = frozenset()
    start = 0

    def __init__(self, text: str) -> None:
        self.bytes = text.encode().decode("latin-1")
        self.lark = f"/{source(word(text))}/"
        self.farthest = len(self.bytes)

    def step(self, state: int, symbol: str) -> int | None:
        return state + 1 if self.bytes[state : state + 1] == symbol else None

    def accepts(self, state: int) -> bool:
        return state == len(self.bytes)

    def rest(self, state: int) -> str:
        return self.bytes[state:]

    stuck = accepts

    def settled(self, state: int) -> bool:
        return False

    def firsts(self, state: int) -> Iterable[str]:
        return self.bytes[state : state + 1]


class Token:
    """One token that is not text."""

    lazy = False
    long = False
    closers: frozenset[str] = frozenset()
    start = 0
    farthest = 1

    def __init__(self, token: int) -> None:
        self.symbol = chr(TOKENS_FROM + token)
        self.lark = f"<[{token}]>"

    def step(self, state: int, symbol: str) -> int | None:
        return 1 if state == 0 and symbol == self.symbol else None

    def accepts(self, state: int) -> bool:
        return state == 1

    def rest(self, state: int) -> str:
        return "" if state else self.symbol

    stuck = accepts

    def settled(self, state: int) -> bool:
        return False

    def firsts(self, state: int) -> Iterable[str]:
        return self.rest(state)


class Table:
    """A lexeme told by an automaton."""

    start = 0

    def __init__(
        self, automaton: Automaton, lark: str, long: bool = False, closers: str = "", lazy: bool = False
    ) -> None:
        self.automaton = automaton
        self.lark = lark
        self.lazy = lazy
        self.long = long
        self.closers = frozenset(closers)
        self.farthest = automaton.farthest

    def step(self, state: int, symbol: str) -> int | None:
        return self.automaton.rows[state].get(ord(symbol))

    def accepts(self, state: int) -> bool:
        return state in self.automaton.accepting

    def rest(self, state: int) -> str:
        return self.automaton.shortest(state)

    def stuck(self, state: int) -> bool:
        return not self.automaton.rows[state]

    def settled(self, state: int) -> bool:
        return False

    def firsts(self, state: int) -> Iterable[str] | None:
        row = self.automaton.rows[state]
        return None if self.long and len(row) > FEW else map(chr, row)


@functools.cache
def _one_character() -> Automaton:
    return build(in_json(ANY))


class Quoted:
    """A JSON string of `low` to `high` characters."""

    lazy = False
    long = True
    closers = frozenset('"')
    start = (-1, 0)
    DONE = (-2, 0)

    def __init__(self, low: int = 0, high: int | None = None) -> None:
        self.low, self.high = low, high
        self.sign = _one_character()
        text = Rep(in_json(ANY), low, high)
        self.lark = f"/{source(Cat((word(QUOTE), text, word(QUOTE))))}/"
        self.farthest = low + self.sign.farthest + 2
        self._last = low if high is None else high

    def step(self, state: tuple[int, int], symbol: str) -> tuple[int, int] | None:
        inside, count = state
        if inside == -1:
            return (0, 0) if symbol == QUOTE else None
        if inside == 0 and symbol == QUOTE:
            return self.DONE if count >= self.low else None
        if inside == -2 or (inside == 0 and self.high is not None and count >= self.high):
            return None
        after = self.sign.rows[inside].get(ord(symbol))
        if after is None:
            return None
        if after not in self.sign.accepting:
            return after, count
        return 0, min(count + 1, self._last)

    def accepts(self, state: tuple[int, int]) -> bool:
        return state[0] == -2

    stuck = accepts

    def rest(self, state: tuple[int, int]) -> str:
        inside, count = state
        if inside == -2:
            return ""
        if inside == -1:
            return QUOTE + "a" * self.low + QUOTE
        begun = self.sign.shortest(inside) if inside else ""
        return begun + "a" * max(0, self.low - count - bool(begun)) + QUOTE

    def settled(self, state: tuple[int, int]) -> bool:
        return state[0] == 0

    def firsts(self, state: tuple[int, int]) -> Iterable[str] | None:
        inside = state[0]
        return None if inside == 0 else QUOTE if inside == -1 else map(chr, self.sign.rows[max(inside, 0)])


QUOTE = '"'


@functools.lru_cache(maxsize=512)
def table(expression: Regex, long: bool = False) -> Table:
    """Return the lexeme of an expression."""
    return Table(build(expression), f"/{source(expression)}/", long)


@functools.lru_cache(maxsize=64)
def text_without(*tags: str) -> Table:
    """Return free text in which none of some tags stands; without tags, any text."""
    if not tags:
        return Table(build(Rep(ANY, 0, None)), f"/{source(Rep(ANY, 0, None))}/", long=True)
    held = Cat((Rep(ANY, 0, None), words(tags), Rep(ANY, 0, None)))
    free = Rep(ANY, 0, None)
    return Table(excluding(build(free), build(held)), f"/{source(free)}/ & ~/{source(held)}/", long=True)


@functools.lru_cache(maxsize=64)
def text_until(tag: str, never: tuple[str, ...] = ()) -> Table:
    """Return free text up to the first time a tag stands in it, the tag included and `never` not in it."""
    return bare_text(tag, never)


@functools.lru_cache(maxsize=64)
def bare_text(end: str, never: tuple[str, ...]) -> Table:
    """Return free text up to the first time `end` stands in it, `end` included and `never` nowhere in it.

    Where `end` begins with a line's end, the rest of it does not stand in the text without one either.
    """
    free = Rep(ANY, 0, None)
    whole, tag = Cat((free, word(end))), end.lstrip("\n")
    held: list[Regex] = [Cat((free, words(never), free))] if never else []
    if tag != end:
        other = Chars(without(CHARACTERS, ((10, 10),)))
        held += [Cat((free, other, word(tag), free)), Cat((word(tag), free))]
    automaton, lark = build(whole, lazy=True), f"/{source(whole)}/"
    if held:
        forbidden = Or(tuple(held))
        automaton, lark = excluding(automaton, build(forbidden)), f"{lark} & ~/{source(forbidden)}/"
    last = end.encode().decode("latin-1")[-1]
    return Table(automaton, lark, True, last, lazy=True)


def quoted(expression: Regex, low: int = 0, high: int | None = None) -> Table:
    """Return a JSON string that an expression describes, of `low` to `high` characters."""
    whole = Cat((word(QUOTE), in_json(expression), word(QUOTE)))
    automaton, lark = build(whole), f"/{source(whole)}/"
    if low or high is not None:
        counted = Cat((word(QUOTE), Rep(in_json(ANY), low, high), word(QUOTE)))
        automaton, lark = both(automaton, build(counted)), f"{lark} & /{source(counted)}/"
    return Table(automaton, lark, long=True, closers=QUOTE)


def key_except(names: tuple[str, ...], after: Regex, shape: Regex | None = None) -> Table:
    """Return a key that is none of some names, with what follows it."""
    inner = Rep(in_json(ANY), 0, None) if shape is None else in_json(shape)
    expression = Cat((word(QUOTE), inner, word(QUOTE), after))
    if not names:
        return Table(build(expression), f"/{source(expression)}/", True, QUOTE)
    taken = Cat((word(QUOTE), words([spelled(name) for name in names]), word(QUOTE), after))
    lark = f"/{source(expression)}/ & ~/{source(taken)}/"
    return Table(excluding(build(expression), build(taken)), lark, True, QUOTE)


def spelled(text: str) -> str:
    """Return what stands between the quotes of a JSON string, spelled as our strings are."""
    short = {8: "b", 9: "t", 10: "n", 12: "f", 13: "r", 34: '"', 92: "\\"}
    return "".join("\\" + short[ord(c)] if ord(c) in short else c for c in text)


def one_of(signs: str) -> Chars:
    """Return one of some characters."""
    return Chars(tuple((ord(sign), ord(sign)) for sign in sorted(signs)))
