"""Whether the calls in a chat are worth learning from: tools that are offered, arguments that fit them.

A model learns what it is shown. One row whose call names a tool that nobody offers teaches it to make up
tools; one whose arguments are of another type, to make up types.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from danlu.data.records import Dialogue
from danlu.data.values import shown
from danlu.tools.definitions import function_of, misfits

UNREAD = re.compile(r"</?tool_call>|<functioncall>")
Fault = tuple[str, str]
"""What rows of this kind do, in words that follow a count; and what this one does."""


def fault(chat: Dialogue) -> Fault | None:
    """Return the first thing that is wrong with the calls of a chat."""
    if broken := [tool for tool in chat.tools or [] if not _is_tool(tool)]:
        return "offer a tool without a name or a schema", shown(broken[0])
    if half := _half(chat):
        return "have half a character in tools or calls", f"half a character: {half}"
    tools = {function_of(tool)["name"]: tool for tool in chat.tools or []}
    for message in chat.messages:
        if message["role"] == "assistant" and UNREAD.search(message.get("content") or ""):
            return "have calls that cannot be read", f"{message['content'][:80]!r}"
        for call in calls_of(message):
            if not tools:
                return "call tools of which none can be read", f"'{call['name']}'; {_where(chat)}"
            if call["name"] not in tools:
                return "call a tool that is not offered", f"'{call['name']}'; offered: {', '.join(tools)}"
            if wrong := misfits(call["arguments"], tools[call["name"]]):
                return "have arguments that do not fit their tool", f"{call['name']}: {wrong[0]}"
    return None


def _is_tool(tool: Mapping[str, Any]) -> bool:
    """Whether a tool of a stranger has a name, and a schema if it takes anything."""
    inner = tool.get("function", tool)
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        return False
    schema = inner.get("parameters") or {}
    return isinstance(schema, Mapping) and isinstance(schema.get("properties") or {}, Mapping)


def _half(chat: Dialogue) -> str:
    """Return half a character out of tools and calls, "" if all are whole; texts were looked at before."""
    said = [chat.tools, [[*calls_of(message)] for message in chat.messages]]
    try:
        json.dumps(said, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        return error.object[error.start].encode("ascii", "backslashreplace").decode()
    return ""


def _where(chat: Dialogue) -> str:
    """Return where the tools of a chat are, if they are anywhere."""
    first = chat.messages[0]
    if first["role"] == "system" and "<tools>" in first["content"]:
        return "the system text has <tools> in words that are not known"
    return "the row offers none"


def calls_of(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the calls of a message, each with a name and arguments."""
    for call in message.get("tool_calls") or []:
        yield call.get("function", call)
