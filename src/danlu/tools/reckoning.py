"""Sums worked out from their text, exactly and safely: nothing is run, only numbers are reckoned with.

    reckon("2 + 3 * 4")     "14"          reckon("0.1 + 0.2")         "0.3"
    reckon("7 / 2")         "3.5"         reckon("sqrt(2)")           "1.4142135623731"
    reckon("（6+4）×5")      "50"          reckon("2 ** 10 ** 10")     refused: too large

The text is parsed, and of what can be parsed only this is known: numbers, + - * / // % **, brackets, and
the functions and constants below. Whole numbers and fractions stay exact. What would take long or grow
large is refused before it is tried.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import unicodedata
from collections.abc import Callable
from fractions import Fraction

Number = Fraction | float
LONGEST = 300  # letters
BITS = 4096  # of a number's numerator or denominator
DIGITS = 15  # of what is not exact
SIGNS = str.maketrans(
    {"×": "*", "·": "*", "÷": "/", "−": "-", "^": "**", "【": "(", "】": ")", "[": "(", "]": ")"}
)
RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹]+")


class Refused(Exception):
    """What cannot be worked out, and why."""


def reckon(text: str) -> str:
    """Return what a sum comes to, as decimal digits. Raises Refused with the reason."""
    if len(text) > LONGEST:
        raise Refused(f"the expression has {len(text)} letters; up to {LONGEST} are read")
    try:
        return shown(_value(ast.parse(_plain(text), mode="eval").body))
    except SyntaxError:
        raise Refused(f"'{text}' is no sum; write numbers with + - * / // % ** and brackets") from None
    except ZeroDivisionError:
        raise Refused("division by zero") from None
    except (OverflowError, MemoryError, RecursionError):
        raise Refused("the numbers get too large") from None
    except ValueError:
        raise Refused("there is no such number, like a root of something negative") from None


def _plain(text: str) -> str:
    """Return a sum as Python would write it; raised digits are a power.

    >>> _plain("（６＋4）×5 ="), _plain("3²")
    ('(6+4)*5', '3**2')
    """
    text = RAISED.sub(lambda found: f"**{found[0]}", text)
    return unicodedata.normalize("NFKC", text).translate(SIGNS).strip().removesuffix("=").rstrip()


def _value(node: ast.expr) -> Number:
    """Return what a part of a sum comes to."""
    if (
        isinstance(node, ast.Constant)
        and isinstance(node.value, int | float)
        and not isinstance(node.value, bool)
    ):
        return _bounded(Fraction(repr(node.value)) if math.isfinite(node.value) else math.inf)
    if isinstance(node, ast.UnaryOp) and type(node.op) in ONE:
        return ONE[type(node.op)](_value(node.operand))
    if isinstance(node, ast.BinOp) and type(node.op) in TWO:
        return _bounded(TWO[type(node.op)](_value(node.left), _value(node.right)))
    if isinstance(node, ast.Name) and node.id in CONSTANTS:
        return CONSTANTS[node.id]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        if node.func.id in FUNCTIONS:
            return _bounded(_called(node.func.id, [_value(each) for each in node.args]))
        raise Refused(f"there is no function '{node.func.id}'; known are {', '.join(FUNCTIONS)}")
    raise Refused(
        f"'{ast.unparse(node)}' is no number; known are numbers, + - * / // % **, brackets and functions"
    )


def _called(name: str, values: list[Number]) -> Number:
    function, least, most = FUNCTIONS[name]
    if not least <= len(values) <= most:
        takes = f"{least}" if least == most else f"{least} to {most}"
        raise Refused(f"{name} takes {takes} numbers, not {len(values)}")
    return function(*values)


def _bounded(value: Number) -> Number:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise OverflowError
        return value
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > BITS:
        raise OverflowError
    return value


def _power(base: Number, exponent: Number) -> Number:
    """Return a power; the size of an exact one is known before it is worked out."""
    if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if abs(exponent) > BITS or (bits > 1 and bits * abs(exponent) > 2 * BITS):
            raise OverflowError
        return base ** int(exponent)
    power = float(base) ** float(exponent)
    if isinstance(power, complex):
        raise ValueError
    return power


def _whole(value: Number, most: int) -> int:
    if value != int(value) or not 0 <= value <= most:
        raise Refused(f"a whole number from 0 to {most} is needed, not {shown(value)}")
    return int(value)


def _root(value: Number) -> Number:
    """Return a square root, an exact one where there is one."""
    if isinstance(value, Fraction) and value >= 0:
        over, under = math.isqrt(value.numerator), math.isqrt(value.denominator)
        if over * over == value.numerator and under * under == value.denominator:
            return Fraction(over, under)
    return math.sqrt(value)


def _rounded(value: Number, digits: Number = Fraction(0)) -> Number:
    return Fraction(round(Fraction(value), _whole(digits, DIGITS)))


def _logarithm(value: Number, base: Number | None = None) -> Number:
    return math.log(value) if base is None else math.log(value) / math.log(base)


def _floated(function: Callable[[float], float]) -> Callable[..., Number]:
    return lambda value: function(float(value))


ONE: dict[type, Callable[[Number], Number]] = {ast.UAdd: lambda value: value, ast.USub: lambda value: -value}
TWO: dict[type, Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: lambda one, other: Fraction(one // other),
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
CONSTANTS: dict[str, Number] = {"pi": math.pi, "π": math.pi, "e": math.e}
FUNCTIONS: dict[str, tuple[Callable[..., Number], int, int]] = {
    "sqrt": (_root, 1, 1),
    "abs": (abs, 1, 1),
    "round": (_rounded, 1, 2),
    "floor": (lambda value: Fraction(math.floor(value)), 1, 1),
    "ceil": (lambda value: Fraction(math.ceil(value)), 1, 1),
    "min": (lambda *values: min(values), 1, 50),
    "max": (lambda *values: max(values), 1, 50),
    "pow": (_power, 2, 2),
    "factorial": (lambda value: Fraction(math.factorial(_whole(value, 300))), 1, 1),
    "log": (_logarithm, 1, 2),
    "ln": (_logarithm, 1, 1),
    "log2": (_floated(math.log2), 1, 1),
    "log10": (_floated(math.log10), 1, 1),
    "exp": (_floated(math.exp), 1, 1),
    "sin": (_floated(math.sin), 1, 1),
    "cos": (_floated(math.cos), 1, 1),
    "tan": (_floated(math.tan), 1, 1),
}


def shown(value: Number) -> str:
    """Return a number in digits: exactly where it ends, else to DIGITS of them.

    >>> shown(Fraction(7, 2)), shown(Fraction(1, 3)), shown(Fraction(10**20)), shown(0.1 + 0.2)
    ('3.5', '0.333333333333333', '100000000000000000000', '0.3')
    """
    if isinstance(value, Fraction):
        if value.denominator == 1:
            return str(value.numerator)
        shift, rest = 0, value.denominator
        while rest % 2 == 0 or rest % 5 == 0:
            rest //= 2 if rest % 2 == 0 else 5
            shift += 1
        if rest == 1 and shift <= DIGITS:
            digits = str(abs(value.numerator) * 10**shift // value.denominator).rjust(shift + 1, "0")
            return ("-" * (value < 0) + f"{digits[:-shift]}.{digits[-shift:]}").rstrip("0").rstrip(".")
    return f"{float(value):.{DIGITS}g}"
