"""The pieces between values, with the white space that may stand beside them.

    {"a": 1, "b": [1, 2]}        a space after a comma or colon, or none
    {                            or a line end and up to 16 spaces after an opening one or a comma, and
      "a": 1                     before a closing one
    }

So white space never fills a budget: each place has one run of it, and a run has an end.
"""

from __future__ import annotations

from danlu.generate.grammar.lexemes import table
from danlu.generate.grammar.nodes import Piece
from danlu.generate.grammar.regex import Cat, Or, Regex, Rep, maybe, word

INDENT = 16
LINE = Cat((word("\n"), Rep(word(" "), 0, INDENT)))
SPACE = maybe(word(" "))


class Closing(Piece):
    """A closing bracket: what stands before it is one level deeper."""

    closes = True


def _after(sign: str, space: Regex) -> Piece:
    return Piece(table(Cat((word(sign), maybe(space)))))


def _before(sign: str) -> Closing:
    return Closing(table(Cat((maybe(LINE), word(sign)))))


OPEN_OBJECT, CLOSE_OBJECT = _after("{", LINE), _before("}")
OPEN_ARRAY, CLOSE_ARRAY = _after("[", LINE), _before("]")
COMMA = _after(",", Or((word(" "), LINE)))
COLON = Cat((word(":"), SPACE))
