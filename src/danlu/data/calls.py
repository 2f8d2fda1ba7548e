"""Whether the calls in a chat are worth learning from: tools that are offered, arguments that fit them.

A model learns what it is shown. One row whose call names a tool that nobody offers teaches it to make up
tools; one whose arguments are of another type, to make up types.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from danlu.data.records import Dialogue
from danlu.tools.definitions import function_of, misfits

UNREAD = re.compile(r"</?tool_call>|<functioncall>")
Fault = tuple[str, str]
"""What rows of this kind do, in words that follow a count; and what this one does."""


def fault(chat: Dialogue) -> Fault | None:
    """Return the first thing that is wrong with the calls of a chat."""
    tools = {function_of(tool).get("name"): tool for tool in chat.tools or []}
    for message in chat.messages:
        if message["role"] == "assistant" and UNREAD.search(message.get("content") or ""):
            return "have calls that cannot be read", f"{message['content'][:80]!r}"
        for call in calls_of(message):
            if call["name"] not in tools:
                return (
                    "call a tool that is not offered",
                    f"'{call['name']}'; offered: {', '.join(map(str, tools))}",
                )
            if wrong := misfits(call["arguments"], tools[call["name"]]):
                return "have arguments that do not fit their tool", f"{call['name']}: {wrong[0]}"
    return None


def calls_of(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the calls of a message, each with a name and arguments."""
    for call in message.get("tool_calls") or []:
        yield call.get("function", call)
