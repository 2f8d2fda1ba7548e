"""A row's value with what can be mended without guessing; each change is named.

    any row     unseen characters taken out, texts turned back that were surely read with the wrong table
    a bad row   fields that are null dropped, calls read out of their text, a role's spelling, last
                messages that say nothing dropped: one after another, until the row is good

Whether a row is good is asked of `sources.told`, as in training.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from danlu.data.formats import Reading
from danlu.data.lint.characters import KINDS, without_unseen
from danlu.data.lint.mojibake import reversed_whole, trouble
from danlu.data.records import Record
from danlu.data.rows import START, BadRow, Place, Row
from danlu.data.sources import told


@dataclass
class One:
    """A block of one row."""

    value: Any
    place: Place = START
    after: Place = START

    def rows(self) -> Iterator[Row]:
        yield Row(self.place, self.value)


def recorded(value: Any, purpose: str | None, reading: Reading) -> Record | BadRow:
    """Return what a value is as a row."""
    return next(iter(told(One(value), 0, purpose, reading))).record


def amended(value: Any, purpose: str | None, reading: Reading) -> tuple[Any, Record, list[str]]:
    """Return a row made good, its record and the names of the changes; raise what is wrong with it else."""
    names: list[str] = []
    value = _everywhere(value, lambda text: _clean(text, names))
    record = recorded(value, purpose, reading)
    for name, change in CHANGES.items():
        if not isinstance(record, BadRow) or not isinstance(value, dict):
            break
        other = change(value)
        if other != value:
            value = other
            names.append(name)
            record = recorded(value, purpose, reading)
    if isinstance(record, BadRow):
        raise record
    return value, record, list(dict.fromkeys(names))


def _everywhere(value: Any, change: Callable[[str], str]) -> Any:
    """Return a value with every text in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_everywhere(one, change) for one in value]
    if isinstance(value, dict):
        return {key: _everywhere(one, change) for key, one in value.items()}
    return value


def _clean(text: str, names: list[str]) -> str:
    if text.isascii() and text.isprintable():
        return text
    if trouble(text) is not None:
        back = reversed_whole(text)
        if back is None:
            return text  # its control characters may be halves of letters
        names.append("mojibake")
        text = back
    clean = without_unseen(text)
    if clean != text:
        names += [name for name, kind in KINDS.items() if kind.pattern.search(text)]
    return clean


def _without_nulls(row: Any) -> Any:
    if isinstance(row, dict):
        return {key: _without_nulls(value) for key, value in row.items() if value is not None}
    return [_without_nulls(value) for value in row] if isinstance(row, list) else row


def _in_messages(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Any], Any]:
    """Return what changes every message of a row."""

    def all_of(value: Any) -> Any:
        if isinstance(value, list):
            return [change(one) if isinstance(one, dict) else one for one in value]
        return value

    return lambda row: {key: all_of(value) for key, value in row.items()}


def _calls(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message whose calls are a list of values."""
    calls = message.get("tool_calls")
    try:
        calls = json.loads(calls) if isinstance(calls, str) else calls
    except (ValueError, RecursionError):
        return message
    calls = [calls] if isinstance(calls, dict) else calls
    return message | {"tool_calls": calls} if isinstance(calls, list) else message


def _role(message: dict[str, Any]) -> dict[str, Any]:
    role = message.get("role")
    return message | {"role": role.strip().lower()} if isinstance(role, str) else message


def _without_empty_end(row: Any) -> Any:
    """Return a row whose lists of messages do not end with one that says nothing."""
    return {key: _ended(value) if isinstance(value, list) else value for key, value in row.items()}


def _ended(messages: list[Any]) -> list[Any]:
    kept = list(messages)
    while kept and isinstance(kept[-1], dict) and "role" in kept[-1] and _says_nothing(kept[-1]):
        kept.pop()
    return kept


def _says_nothing(message: dict[str, Any]) -> bool:
    said = (message.get(key) for key in ("content", "tool_calls", "reasoning_content"))
    return not any(one.strip() if isinstance(one, str) else one for one in said)


CHANGES: dict[str, Callable[[Any], Any]] = {
    "null fields": _without_nulls,
    "spelling of roles": _in_messages(_role),
    "tool calls as text": _in_messages(_calls),
    "empty last messages": _without_empty_end,
}
