"""Rows that are a text and its class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from danlu.data.records import Label
from danlu.data.rows import BadRow
from danlu.data.values import kind, string


def classification(row: Mapping[str, Any], purpose: str | None) -> Label:
    """Return {"text", "label"}; a class may be a word or a number, 1 and 1.0 and "1" being the same."""
    return Label(string("text", row["text"]), _label(row["label"]))


def _label(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (int, float)):
        return str(value)
    if not isinstance(value, str):
        raise BadRow("label", f"found {kind(value)}", "must be a word or a number")
    return string("label", value).strip()
