"""`pattern` and `format` of JSON Schema as expressions.

A pattern is read as Python's `re` reads it, and finds its text anywhere unless it is anchored. Where Python
and ECMAScript differ (what a word, a digit, white space or a dot is) only what both mean is said. What no
automaton can follow (looking ahead or back, back references, an anchor in the middle) is refused.
"""

from __future__ import annotations

import functools
import importlib
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from danlu.base.errors import UserError, nearest
from danlu.generate.grammar.automaton import Automaton, build
from danlu.generate.grammar.regex import (
    ANY,
    CHARACTERS,
    Cat,
    Chars,
    Or,
    Ranges,
    Regex,
    Rep,
    chars,
    common,
    inverse,
    maybe,
    union,
    without,
    word,
    words,
)

# The reader of `re` has no public name, but the same one since Python 2.
_read = importlib.import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")

ANYTHING = Rep(ANY, 0, None)
MOST_REPEATS = 2000
LINE_ENDS = ((0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029))


def pattern(text: str, place: str, wide: bool = False) -> Regex:
    """Return the texts in which a pattern is found by every reader; or, if `wide`, by any."""
    try:
        tree = _read.parse(text)
        if tree.state.flags & ~re.UNICODE:
            raise ValueError("flags")
        return _found(list(tree), wide)
    except (re.error, ValueError, KeyError, RecursionError, OverflowError) as error:
        raise UserError(
            f"{place}: pattern {text!r} cannot be followed: {error}",
            "use classes, groups, alternatives, repetition, and ^ and $ at its ends",
        ) from None


def finds(text: str, name: str, place: str) -> bool:
    """Return whether a pattern is found in a name, in time that grows with its length alone.

    `re` itself may take for ever. A name that some readers find and others do not is refused.
    """
    pattern(text, place)  # refuses, by its place, one that cannot be followed
    said = name.encode(errors="replace")
    found = _finder(text, False).accepts(said)
    plain = name.isascii() and name.isprintable()  # of these signs readers think alike
    if not plain and found != _finder(text, True).accepts(said):
        raise UserError(
            f"{place}: readers differ in whether pattern {text!r} is found in {name!r}",
            "say what signs are meant, as in [0-9A-Za-z_]",
        )
    return found


@functools.lru_cache(maxsize=256)
def _finder(text: str, wide: bool) -> Automaton:
    return build(pattern(text, "", wide))


def _found(items: Sequence[tuple[Any, Any]], wide: bool) -> Regex:
    """Return a pattern with what may stand around it."""
    if len(items) == 1 and str(items[0][0]) == "BRANCH":
        return Or(tuple(_found(list(option), wide) for option in items[0][1][1]))
    if len(items) == 1 and str(items[0][0]) == "SUBPATTERN" and not any(items[0][1][1:3]):
        return _found(list(items[0][1][3]), wide)
    begins = bool(items) and _is_anchor(items[0], "AT_BEGINNING")
    core = items[1:] if begins else items
    ends = bool(core) and _is_anchor(core[-1], "AT_END")
    core = core[:-1] if ends else core
    # The reader takes what alternatives begin with in common, an anchor too, out of them.
    if len(core) == 1 and str(core[0][0]) == "BRANCH" and begins != ends:
        options = [list(option) for option in core[0][1][1]]
        before, after = [items[0]] if begins else [], [items[-1]] if ends else []
        return Or(tuple(_found([*before, *option, *after], wide) for option in options))
    middle = _sequence(core, wide)
    return Cat((*(() if begins else (ANYTHING,)), middle, *(() if ends else (ANYTHING,))))


def _is_anchor(item: tuple[Any, Any], name: str) -> bool:
    return str(item[0]) == "AT" and str(item[1]) in (name, name + "_STRING")


def _sequence(items: Sequence[tuple[Any, Any]], wide: bool) -> Regex:
    return Cat(tuple(_one(str(kind), value, wide) for kind, value in items))


def _one(kind: str, value: Any, wide: bool) -> Regex:
    if kind not in _KINDS:
        raise ValueError(f"{kind.lower().replace('_', ' ')} is not supported in this place")
    return _KINDS[kind](value, wide)


def _repeat(value: Any, wide: bool) -> Regex:
    low, high, inner = value
    high = None if str(high) == "MAXREPEAT" else int(high)
    if max(low, high or 0) > MOST_REPEATS:
        raise ValueError(f"more than {MOST_REPEATS} repetitions")
    return Rep(_sequence(list(inner), wide), low, high)


def _group(value: Any, wide: bool) -> Regex:
    if value[1] or value[2]:
        raise ValueError("flags")
    return _sequence(list(value[3]), wide)


def _set(value: Any, wide: bool) -> Regex:
    items = list(value)
    negated = bool(items) and str(items[0][0]) == "NEGATE"
    held = union(*(_member(str(kind), what, negated != wide) for kind, what in items[negated:]))
    return Chars(without(CHARACTERS, held) if negated else common(held, CHARACTERS))


def _member(kind: str, value: Any, wide: bool) -> Ranges:
    if kind == "LITERAL":
        return ((value, value),)
    if kind == "RANGE":
        return (value,)
    if kind == "CATEGORY":
        return _category(str(value), wide)
    raise ValueError(f"{kind.lower()} in a class")


def _category(name: str, wide: bool = False) -> Ranges:
    """Return a class: what Python and ECMAScript both hold in it, or, if `wide`, what either holds."""
    name = name.removeprefix("CATEGORY_")
    negated = name.startswith("NOT_")
    small, large = _CLASSES[name.removeprefix("NOT_")]
    if negated:
        return inverse(small) if wide else inverse(large())
    return large() if wide else small


@functools.cache
def _where(test: Callable[[str], bool]) -> Ranges:
    return union(tuple((code, code) for code in range(0x110000) if test(chr(code))))


def _word_sign(sign: str) -> bool:
    return sign.isalnum() or sign == "_"


_SPACES = ((9, 13), (32, 32), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029))
_SPACES_MORE = ((0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000))
_SPACES_EITHER = ((0x1C, 0x1F), (0x85, 0x85), (0xFEFF, 0xFEFF))  # each known to one of the two only

_CLASSES: dict[str, tuple[Ranges, Callable[[], Ranges]]] = {
    "DIGIT": (chars("0-9").ranges, lambda: _where(str.isdecimal)),
    "WORD": (chars("0-9A-Z_a-z").ranges, lambda: _where(_word_sign)),
    "SPACE": (
        union(_SPACES, _SPACES_MORE),
        lambda: union(_SPACES, _SPACES_MORE, _SPACES_EITHER),
    ),
}

_KINDS: dict[str, Callable[[Any, bool], Regex]] = {
    "LITERAL": lambda code, wide: Chars(common(((code, code),), CHARACTERS)),
    "NOT_LITERAL": lambda code, wide: Chars(without(CHARACTERS, ((code, code),))),
    "ANY": lambda _, wide: Chars(without(CHARACTERS, LINE_ENDS[:1] if wide else LINE_ENDS)),
    "IN": _set,
    "CATEGORY": lambda name, wide: Chars(common(_category(str(name), wide), CHARACTERS)),
    "BRANCH": lambda value, wide: Or(tuple(_sequence(list(option), wide) for option in value[1])),
    "SUBPATTERN": _group,
    "MAX_REPEAT": _repeat,
    "MIN_REPEAT": _repeat,
}

_D = chars("0-9")
_HEX = chars("0-9a-f")
_LABEL = Cat((chars("0-9a-z"), Rep(Cat((maybe(word("-")), chars("0-9a-z"))), 0, 20)))
_HOST = Cat((_LABEL, Rep(Cat((word("."), _LABEL)), 0, None)))
_DATE = Cat(
    (
        chars("1-9"),
        Rep(_D, 3, 3),
        word("-"),
        Or(
            (
                Cat(
                    (
                        Or((Cat((word("0"), chars("1-9"))), Cat((word("1"), chars("0-2"))))),
                        word("-"),
                        Or(
                            (
                                Cat((word("0"), chars("1-9"))),
                                Cat((word("1"), _D)),
                                Cat((word("2"), chars("0-8"))),
                            )
                        ),
                    )
                ),
                Cat(
                    (
                        words(["01", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12"]),
                        word("-"),
                        words(["29", "30"]),
                    )
                ),
                Cat((words(["01", "03", "05", "07", "08", "10", "12"]), word("-31"))),
            )
        ),
    )
)
_HOUR = Or((Cat((chars("01"), _D)), Cat((word("2"), chars("0-3")))))
_SIXTY = Cat((chars("0-5"), _D))
_ZONE = Or((word("Z"), Cat((words(["+", "-"]), _HOUR, word(":"), _SIXTY))))
_TIME = Cat((_HOUR, word(":"), _SIXTY, word(":"), _SIXTY, maybe(Cat((word("."), Rep(_D, 1, 6)))), _ZONE))
_BYTE = Or(
    (
        _D,
        Cat((chars("1-9"), _D)),
        Cat((word("1"), _D, _D)),
        Cat((word("2"), chars("0-4"), _D)),
        Cat((word("25"), chars("0-5"))),
    )
)
_IPV6 = Cat((Rep(Cat((Rep(_HEX, 1, 4), word(":"))), 7, 7), Rep(_HEX, 1, 4)))
_ATOM = Rep(chars("0-9A-Z_a-z+"), 1, None)
_PATH = chars("0-9A-Z_a-z~.")


def _amount(*letters: str) -> Regex:
    """Return one to all of some parts of a duration, in their order."""
    last: Regex = Cat(())
    for letter in reversed(letters):
        part = Cat((Rep(_D, 1, 4), word(letter)))
        last = Cat((part, last)) if last == Cat(()) else Or((Cat((part, maybe(last))), last))
    return last


FORMATS: dict[str, Regex] = {
    "date": _DATE,
    "time": _TIME,
    "date-time": Cat((_DATE, word("T"), _TIME)),
    "duration": Cat(
        (
            word("P"),
            Or(
                (
                    Cat((Rep(_D, 1, 4), word("W"))),
                    Cat((_amount("D"), maybe(Cat((word("T"), _amount("H")))))),
                    Cat((word("T"), Or((_amount("H"), _amount("M"), _amount("S"))))),
                )
            ),
        )
    ),
    "email": Cat((_ATOM, Rep(Cat((chars("."), _ATOM)), 0, None), word("@"), _LABEL, word("."), _HOST)),
    "hostname": _HOST,
    "ipv4": Cat((Rep(Cat((_BYTE, word("."))), 3, 3), _BYTE)),
    "ipv6": _IPV6,
    "uuid": Cat(
        (Rep(_HEX, 8, 8), Rep(Cat((word("-"), Rep(_HEX, 4, 4))), 3, 3), word("-"), Rep(_HEX, 12, 12))
    ),
    "uri": Cat(
        (
            words(["http://", "https://", "ftp://"]),
            _HOST,
            maybe(Cat((word(":"), chars("1-9"), Rep(_D, 1, 3)))),
            Rep(Cat((word("/"), Rep(_PATH, 0, None))), 0, None),
            maybe(Cat((word("?"), Rep(Or((_PATH, chars("&="))), 1, None)))),
            maybe(Cat((word("#"), Rep(_PATH, 1, None)))),
        )
    ),
}


def format_of(name: str, place: str) -> Regex:
    """Return the texts of a format."""
    if name not in FORMATS:
        raise UserError(f"{place}: format '{name}' is not supported", nearest(name, FORMATS))
    return FORMATS[name]
