"""One value of a row: checks that raise `BadRow`, and words for what was found."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from danlu.data.rows import BadRow

NAMES = {str: "a string", int: "a number", float: "a number", list: "a list", dict: "an object"}


def string(field: str, value: Any, empty: bool = False) -> str:
    """Return a text that holds something and only whole characters."""
    if not isinstance(value, str):
        raise BadRow(field, f"found {kind(value)}", "must be a string")
    if not empty and (not value or value.isspace()):
        raise BadRow(field, "is empty", "write something, or remove the row")
    if not value.isascii():
        _whole_characters(field, value)
    return value


def _whole_characters(field: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        broken = value[error.start].encode("ascii", "backslashreplace").decode()
        raise BadRow(
            field, f"holds half a character, {broken}, at {error.start}", "write the whole character"
        ) from None


def optional(row: Mapping[str, Any], key: str) -> str:
    """Return the text under a key, empty if there is none."""
    value = row.get(key)
    return "" if value is None else string(key, value, empty=True)


def parsed(field: str, value: Any) -> Any:
    """Return what a text of JSON holds; other values as they are."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError) as error:
        raise BadRow(
            field, f"holds text that is not JSON: {error}", "mend the text, or write the value itself"
        ) from None


def kind(value: Any) -> str:
    """Return a JSON value's kind in words.

    >>> kind(None), kind(3), kind({})
    ('null', 'a number', 'an empty object')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, dict)) and not value:
        return "an empty list" if isinstance(value, list) else "an empty object"
    return NAMES.get(type(value), type(value).__name__)


def shown(value: Any) -> str:
    """Return a value as JSON, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def any_of(names: Iterable[str]) -> str:
    """Return names as a choice.

    >>> any_of(["text", "content"])
    "'text' or 'content'"
    """
    names = list(names)
    return " or ".join(f"'{name}'" for name in names[:6]) + (" ..." if len(names) > 6 else "")
