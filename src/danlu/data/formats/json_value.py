"""One JSON value, strictly: what is no JSON, and what two readers would take differently, is a BadRow.

Refused beside wrong syntax: a key written twice (readers keep different ones), NaN and Infinity, numbers
that become infinite, halves of characters, nesting beyond what Python can hold.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from danlu.data.formats.encodings import decoded
from danlu.data.rows import BadRow

MEND = "mend the line, or remove it"


def parse(line: bytes, encoding: str = "utf-8", first: bool = False, at: int | None = None) -> Any:
    """Return the JSON value of a row, or raise what is wrong; `at` is its line if it may have several."""
    text = decoded(line, encoding, first)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise BadRow("", *_explain(text, error, at)) from None
    except RecursionError:
        raise BadRow("", "is nested too deeply", "remove the row") from None
    except ValueError as error:
        raise BadRow("", f"not valid JSON: {error}", MEND) from None
    if "\\u" in text:
        _whole_characters(value)
    return value


def _explain(text: str, error: json.JSONDecodeError, at: int | None) -> tuple[str, str]:
    what = re.sub("(:|,| starting)? at$", "", error.msg[0].lower() + error.msg[1:])
    where = f"column {error.colno}" if at is None else f"line {at + error.lineno}, column {error.colno}"
    left = text[error.pos : error.pos + 1]
    if error.msg == "Extra data":
        what, hint = "there is more after the value", "one value a row, no comma after it"
    elif text[:1] in "[]" and at is None:
        hint = "one row a line, no list around them"
    elif left == "'" or error.msg.startswith("Expecting property name") and "'" in text[: error.pos + 2]:
        hint = 'JSON has double quotes only: {"text": "..."}'
    elif left in ("T", "F", "N"):
        hint = "JSON writes true, false and null"
    else:
        hint = MEND
    return f"not valid JSON at {where}: {what}", hint


def value(line: bytes, encoding: str = "utf-8", first: bool = False, at: int | None = None) -> Any:
    """Return the JSON value of a row, or what is wrong with it."""
    try:
        return parse(line, encoding, first, at)
    except BadRow as bad:
        return bad


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise BadRow(twice[:80], "is written twice in one object", "keep the one that is meant")
    return found


def _finite(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        raise ValueError(f"{word[:40]} is too large a number")
    return number


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no JSON number")


# Made once: json.loads builds one a call when it is given a hook, which costs a fifth of its time.
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_finite, parse_constant=_no_number)


def _whole_characters(row: Any) -> None:
    """Refuse a row in which an escape names half of a character, wherever it stands."""
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise BadRow("", f"holds half a character, {half}", "write the whole character") from None
