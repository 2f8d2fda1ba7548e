"""Rows that are a chat with roles: {"conversations"} or {"messages"}, with tools, with a known result.

A system text that holds tools already written out stays text, and so does an answer that holds
`<tool_call>` or `<think>`: what such a row says is what a model reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from danlu.data.messages import dialogue, prompt
from danlu.data.records import Dialogue, Prompt, Record

Row = Mapping[str, Any]


def conversations(row: Row, purpose: str | None) -> Record:
    """Return {"conversations": [{"role", "content"}, ...]}; the first system message may hold "functions"."""
    return _chat(row, "conversations", purpose)


def messages(row: Row, purpose: str | None) -> Record:
    """Return {"messages": [{"role", "content"}, ...], "tools": [...]}."""
    return _chat(row, "messages", purpose)


def _chat(row: Row, key: str, purpose: str | None) -> Record:
    if purpose == "prompt":
        return prompt(row[key], key, row.get("tools"))
    return dialogue(row[key], key, row.get("tools"))


def agent(row: Row, purpose: str | None) -> Prompt:
    """Return {"conversations" or "messages": [...], "gt": "42"}: what the chat should come to is known."""
    key = "conversations" if "conversations" in row and row.get("messages") is None else "messages"
    return prompt(row[key], key, row.get("tools"), row["gt"])


def with_roles(row: Row) -> bool:
    """Whether the messages say "role" (rather than "from"), and no picture belongs to them."""
    return row.get("image") is None and not with_speakers(row)


def with_speakers(row: Row) -> bool:
    """Whether the messages say who speaks by "from"."""
    given = row["conversations"]
    first = given[0] if isinstance(given, list) and given else None
    return isinstance(first, dict) and "role" not in first and "from" in first


def named(record: Record) -> str:
    """Return what a chat under "conversations" is: a prompt, with tools, with thoughts, or plain."""
    if isinstance(record, Prompt):
        return "rlaif"
    assert isinstance(record, Dialogue)
    first = record.messages[0]
    if record.tools or (first["role"] == "system" and "<tools>" in first.get("content", "")):
        return "tool sft"
    answers = (message.get("content", "") for message in record.messages if message["role"] == "assistant")
    return "reason" if any(answer.lstrip().startswith("<think>") for answer in answers) else "sft chat"
