"""A grammar ready for use, made once and kept for the next request that asks for the same."""

from __future__ import annotations

import json
import re
import threading
import weakref
from collections.abc import Callable
from typing import Any

import llguidance

from danlu.base.errors import UserError
from danlu.generate.grammar.automaton import bounded
from danlu.generate.grammar.constraint import Constraint
from danlu.generate.grammar.lark import written
from danlu.generate.grammar.merging import Never
from danlu.generate.grammar.nodes import Node, settle
from danlu.generate.grammar.schema import Compiler
from danlu.generate.grammar.vocabulary import Vocabulary
from danlu.generate.grammar.walk import Walk

KEPT = 64
"""Grammars remembered."""
LONGEST = 1_000_000
"""Characters of a schema."""
MOST_KEPT = 64 << 20
"""Bytes, about, of the states that a grammar remembers before it begins anew,"""
ALL_KEPT = 256 << 20
"""and of those that all grammars remember together."""

# Bounds on what the library spends on one grammar; no honest schema comes near them.
LIMITS = llguidance.LLParserLimits(
    initial_lexer_fuel=2_000_000, max_grammar_size=200_000, verbose_errors=False
)


class TooShort(UserError):
    """The words that are left do not suffice for the shortest answer."""

    def __init__(self, left: int, least: int) -> None:
        super().__init__(
            f"max_tokens leaves {left} tokens, the shortest answer that is asked for has {least}",
            f"max_tokens of {least} or more",
        )
        self.left = left
        self.least = least


class Grammar:
    """What answers must be like."""

    def __init__(self, root: Node, words: Vocabulary, loose: bool = False) -> None:
        settle(root, words.count)
        if root.text is None:
            raise UserError(
                "no value of finite length satisfies the schema", "let its recursion end somewhere"
            )
        self._words = words
        self._loose = loose
        self._matcher = llguidance.LLMatcher(words.library, written(root), log_level=0, limits=LIMITS)
        if self._matcher.is_error():
            raise UserError(
                f"the grammar is too large or too complex: {_first_line(self._matcher.get_error())}",
                "make the schema simpler",
            )
        self._walk = Walk(root, words)
        with _LOCK:
            _WALKS.add(self._walk)
        self.least = self._walk.start.cost(words)
        """Words of the shortest answer, the end token not among them."""

    def begin(self, left: int) -> Constraint:
        """Return the state of a new answer of at most `left` words; TooShort where that cannot be."""
        if left < self.least:
            raise TooShort(left, self.least)
        _make_room(self._walk)
        return Constraint(self._walk, self._matcher.deep_copy(), self._words, left, self._loose)


_WALKS: weakref.WeakSet[Walk] = weakref.WeakSet()
_LOCK = threading.Lock()


def _make_room(walk: Walk) -> None:
    """Let grammars that remember too much begin anew; an answer under way keeps what it stands on."""
    with _LOCK:
        every = list(_WALKS)
    full = sum(other.size for other in every) > ALL_KEPT
    for other in every if full else [walk]:
        if full or other.size > MOST_KEPT:
            other.forget()


def spec(schema: Any) -> str:
    """Return a schema as text, keys in their order: they are the order of the answer's."""
    try:
        text = json.dumps(schema, ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise UserError(f"the schema holds half of a character, {half!a}", "mend it") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"the schema is not JSON: {error}", "mend it") from None
    if len(text) > LONGEST:
        raise UserError(
            f"the schema has {len(text)} characters, at most {LONGEST} are read", "make it smaller"
        )
    return text


def value_node(schema: Any, place: str) -> Node:
    """Return the grammar of a schema's values."""

    def make() -> Node:
        compiler = Compiler(schema, place)
        return compiler.node(compiler.root, place)

    return possible(make)


def possible(make: Callable[[], Node]) -> Node:
    """Return a grammar; that nothing satisfies it, or that it is too deep, is the user's mistake."""
    try:
        with bounded():
            return make()
    except Never as reason:
        raise UserError(f"no value satisfies the schema: {reason}", "mend the schema") from None
    except RecursionError:
        raise UserError("the schema is too deep", "make it flatter") from None


def _first_line(text: str) -> str:
    return re.sub(r"\s+", " ", text.strip().split("\n")[0])[:200]
