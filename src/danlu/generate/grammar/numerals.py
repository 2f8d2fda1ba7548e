"""Numbers within bounds, as expressions over their digits.

    12 to 105      1[2-9] | [2-9][0-9] | 10[0-5]
    at least 0.25  0.2[5-9]... | 0.[3-9]... | [1-9]...

Whole numbers have up to 15 digits and fractions up to 15, so that every reader keeps them as they are
written. A bounded fraction has no exponent and fewer digits: what is written then never rounds onto a
bound that it must not reach.
"""

from __future__ import annotations

from decimal import Decimal

from danlu.generate.grammar.automaton import Automaton, both, build
from danlu.generate.grammar.lexemes import Table, table
from danlu.generate.grammar.regex import (
    NOTHING,
    Cat,
    Chars,
    Or,
    Regex,
    Rep,
    chars,
    maybe,
    source,
    word,
    words,
)

DIGITS = 15
"""Digits of a whole number or of a fraction."""
DIGIT = chars("0-9")
MOST = 10**DIGITS - 1
ENUMERATED = 2000
"""Multiples between two bounds that are written out one by one."""

WHOLE = Or((word("0"), Cat((chars("1-9"), Rep(DIGIT, 0, DIGITS - 1)))))
FRACTION = Cat((word("."), Rep(DIGIT, 1, DIGITS)))
EXPONENT = Cat((chars("Ee"), maybe(words(["+", "-"])), Rep(DIGIT, 1, 2)))
INTEGER = Cat((maybe(word("-")), WHOLE))
NUMBER = Cat((INTEGER, maybe(FRACTION), maybe(EXPONENT)))


def integers(low: int | None, high: int | None, step: int = 1) -> Regex:
    """Return the whole numbers from `low` to `high` that `step` divides; nothing where there are none."""
    if low is None and high is None and step == 1:
        return INTEGER
    first = -MOST if low is None else max(low, -MOST)
    last = MOST if high is None else min(high, MOST)
    if step > 1:
        first, last = -(-first // step) * step, last // step * step
        if first > last or (last - first) // step >= ENUMERATED:
            return NOTHING if first > last else _stepped(first, last, step)
        return Or(tuple(word(str(value)) for value in range(first, last + 1, step)))
    if first > last:
        return NOTHING
    options: list[Regex] = []
    if first < 0:
        options.append(Cat((word("-"), between(max(1, -last), -first))))
    if last >= 0:
        options.append(between(max(0, first), last))
    return Or(tuple(options))


class Unable(Exception):
    """A step for which there is no expression."""


def _stepped(first: int, last: int, step: int) -> Regex:
    """Return multiples without end; their last digits must tell them."""
    if first != -(MOST // step * step) or last != MOST // step * step:
        raise Unable
    endings = [str(value)[1:] for value in range(10, 20) if value % step == 0]
    if step in (2, 5):
        tail: Regex = Or(tuple(word(ending) for ending in endings))
        more = Cat((chars("1-9"), Rep(DIGIT, 0, DIGITS - 2), tail))
        return Cat((maybe(word("-")), Or((tail, more))))
    if str(step).strip("0") == "1":
        zeros = word(str(step)[1:])
        return Or((word("0"), Cat((maybe(word("-")), chars("1-9"), Rep(DIGIT, 0, 5), zeros))))
    raise Unable


def between(low: int, high: int) -> Regex:
    """Return the whole numbers from `low` to `high`, neither below 0, without leading zeros."""
    options = []
    for length in range(len(str(low)), len(str(high)) + 1):
        first = max(low, 10 ** (length - 1) if length > 1 else 0)
        last = min(high, 10**length - 1)
        options.append(_alike(str(first), str(last)))
    return Or(tuple(options))


def _alike(low: str, high: str) -> Regex:
    """Return the digits from `low` to `high`, both equally long."""
    rest = len(low) - 1
    if rest < 0:
        return Cat(())
    if low.strip("0") == "" and high.strip("9") == "":
        return Rep(DIGIT, rest + 1, rest + 1)
    if low[0] == high[0]:
        return Cat((word(low[0]), _alike(low[1:], high[1:])))
    options = [
        Cat((word(low[0]), _alike(low[1:], "9" * rest))),
        Cat((word(high[0]), _alike("0" * rest, high[1:]))),
    ]
    if int(high[0]) - int(low[0]) > 1:
        options.append(Cat((_digits(int(low[0]) + 1, int(high[0]) - 1), Rep(DIGIT, rest, rest))))
    return Or(tuple(options))


def _digits(low: int, high: int) -> Regex:
    return Chars(((48 + low, 48 + high),)) if low <= high else NOTHING


def decimals(low: Decimal | None, high: Decimal | None, open_low: bool, open_high: bool) -> Table:
    """Return the lexeme of the numbers between two bounds, an open one excluded."""
    if low is None and high is None:
        return table(NUMBER)
    cuts = [_cut(abs(bound)) for bound in (low, high) if bound is not None]
    width = min(DIGITS, max(6, *(len(part) for _, part in cuts)))
    size = DIGITS
    if open_low or open_high:  # up to 15 digits in all are told apart by every reader
        size = max(DIGITS - width, *(len(str(whole)) for whole, _ in cuts))
        width = min(width, max(0, DIGITS - size))
    sides: list[Regex] = []
    if low is not None:
        sides.append(_from(low, open_low, size, width))
    if high is not None:
        sides.append(_from(-high, open_high, size, width, mirror=True))
    automaton: Automaton = build(sides[0]) if len(sides) == 1 else both(build(sides[0]), build(sides[1]))
    return Table(automaton, " & ".join(f"/{source(side)}/" for side in sides))


def _from(low: Decimal, open_: bool, size: int, width: int, mirror: bool = False) -> Regex:
    """Return the numbers from `low` on; mirrored, those with the other sign."""
    minus: Regex
    bare: Regex
    if low > 0 or (low == 0 and open_):
        minus, bare = NOTHING, _least(low, open_, size, width)
    else:
        minus, bare = _at_most(-low, open_, size, width), _any(size, width)
    if mirror:
        minus, bare = bare, minus
    return Or((Cat((word("-"), minus)), bare))


def _any(size: int, width: int) -> Regex:
    whole = Or((word("0"), Cat((chars("1-9"), Rep(DIGIT, 0, size - 1)))))
    return Cat((whole, _fraction(width)))


def _fraction(width: int) -> Regex:
    return maybe(Cat((word("."), Rep(DIGIT, 1, width)))) if width else Cat(())


def _least(low: Decimal, open_: bool, size: int, width: int) -> Regex:
    """Return the numbers without a sign from `low` on."""
    whole, part = _cut(low)
    above: list[Regex] = [Cat((between(whole + 1, 10**size - 1), _fraction(width)))]
    if not part and not open_:
        above.append(Cat((word(str(whole)), _fraction(width))))
    for place in range(min(len(part), width)):
        digit = int(part[place])
        if digit < 9:
            above.append(_with(whole, part[:place], _digits(digit + 1, 9), width - place - 1))
    if len(part) <= width:
        room = width - len(part)
        if open_:
            for zeros in range(room):
                above.append(_with(whole, part + "0" * zeros, chars("1-9"), room - zeros - 1))
        elif part:
            above.append(Cat((word(f"{whole}.{part}"), Rep(DIGIT, 0, room))))
    return Or(tuple(above))


def _at_most(high: Decimal, open_: bool, size: int, width: int) -> Regex:
    """Return the numbers without a sign up to `high`."""
    whole, part = _cut(high)
    below: list[Regex] = [Cat((between(0, whole - 1), _fraction(width)))] if whole else []
    if part or not open_:
        below.append(word(str(whole)))
    for place in range(min(len(part), width)):
        digit = int(part[place])
        if digit > 0:
            below.append(_with(whole, part[:place], _digits(0, digit - 1), width - place - 1))
        if place:
            below.append(word(f"{whole}.{part[:place]}"))
    if not open_ and len(part) < width and (part or width):
        tail = Rep(word("0"), 0 if part else 1, width - len(part))
        below.append(Cat((word(f"{whole}.{part}"), tail)))
    elif not open_ and part and len(part) == width:
        below.append(word(f"{whole}.{part}"))
    return Or(tuple(below)) if below else NOTHING


def _with(whole: int, part: str, digit: Regex, more: int) -> Regex:
    return Cat((word(f"{whole}.{part}"), digit, Rep(DIGIT, 0, more)))


def _cut(value: Decimal) -> tuple[int, str]:
    """Return the whole part and the digits behind the point, without zeros at the end."""
    text = f"{value:f}"
    whole, _, part = text.partition(".")
    return int(whole), part.rstrip("0")
