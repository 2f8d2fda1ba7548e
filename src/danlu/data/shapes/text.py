"""Rows of plain text: {"text"}, {"content"}, and text that is token ids already, {"input_ids"}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from danlu.data.records import Text, Tokens
from danlu.data.rows import BadRow
from danlu.data.values import kind, shown, string

Row = Mapping[str, Any]


def text(row: Row, purpose: str | None) -> Text:
    """Return {"text": "..."}."""
    return Text(string("text", row["text"]))


def content(row: Row, purpose: str | None) -> Text:
    """Return {"content": "..."}."""
    return Text(string("content", row["content"]))


def is_content(row: Row) -> bool:
    """Whether a row with a content is a text; with a summary or a role it is something else."""
    return row.get("summary") is None and row.get("role") is None


def tokens(row: Row, purpose: str | None) -> Tokens:
    """Return {"input_ids": [...], "seq_len": 7}.

    `seq_len` says how many ids are the question, which is only read; where it is the length of the
    whole row, or absent, everything is learned.
    """
    ids = row["input_ids"]
    if not isinstance(ids, list) or len(ids) < 2:
        found = f"found {kind(ids)}" if not isinstance(ids, list) or not ids else "found one id"
        raise BadRow("input_ids", found, "must be a list of two token ids or more")
    for place, token in enumerate(ids):
        if type(token) is not int or token < 0:
            raise BadRow(
                f"input_ids[{place}]",
                f"found {shown(token)}",
                "must be a token id: a whole number, 0 or more",
            )
    return Tokens(ids, _read(row.get("seq_len"), len(ids)))


def _read(seq_len: Any, length: int) -> int:
    """Return how many ids are only read."""
    if seq_len is None:
        return 0
    if type(seq_len) is not int or not 0 <= seq_len <= length:
        raise BadRow(
            "seq_len", f"found {shown(seq_len)}", f"must be a whole number up to {length}, the number of ids"
        )
    return seq_len if seq_len < length else 0
