"""Messages of a chat, checked: roles in order, something said, calls and tools that can be read.

    [{"role": "system", "content": "...", "tools": [...]},       tools may stand here or in the row
     {"role": "user", "content": "..."},
     {"role": "assistant", "content": "", "tool_calls": [...]},  values or JSON text
     {"role": "tool", "content": "..."},
     {"role": "assistant", "content": "...", "loss_mask": 1}]    learned unless loss_mask is 0

A chat is for learning, so the assistant must say something in it. A prompt is for answering: if the
assistant has the last word, that word is taken off and is the answer looked for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from danlu.data.records import Dialogue, Prompt
from danlu.data.rows import BadRow
from danlu.data.values import kind, parsed, shown, string

ROLES = ("system", "user", "assistant", "tool")
PLACEHOLDERS = ("", "空")
"""What stands for an answer that nobody has written."""


def dialogue(given: Any, key: str, tools: Any = None, may_end_empty: bool = False) -> Dialogue:
    """Return the messages under a key, each checked, and the tools of the row or of its system message."""
    if not isinstance(given, list) or not given:
        raise BadRow(key, f"found {kind(given)}", "must be a list of at least one message")
    messages, schemas = _checked(given, key, tools, may_end_empty)
    if not any(message["role"] == "assistant" for message in messages):
        raise BadRow(
            key, "the assistant says nothing, so nothing can be learned", "add its answer, or remove the row"
        )
    return Dialogue(messages, schemas)


def prompt(given: Any, key: str, tools: Any = None, answer: Any = None) -> Prompt:
    """Return messages without the assistant's last word, and what it should come to."""
    if not isinstance(given, list) or not given:
        raise BadRow(key, f"found {kind(given)}", "must be a list of at least one message")
    last = given[-1] if isinstance(given[-1], dict) else {}
    asked = given[:-1] if last.get("role") == "assistant" else given
    messages, schemas = _checked(asked, key, tools)
    if not messages or messages[-1]["role"] not in ("user", "tool"):
        raise BadRow(key, "nothing is asked before the assistant's last word", "begin with a question")
    if answer is None and asked is not given:
        answer = _said(last)
    return Prompt(messages, schemas, _answer(answer))


def prompt_of(chat: Dialogue) -> Prompt:
    """Return a checked chat as a prompt."""
    last = chat.messages[-1]
    if last["role"] != "assistant":
        return Prompt(chat.messages, chat.tools)
    return Prompt(chat.messages[:-1], chat.tools, _answer(_said(last)))


def _said(message: Mapping[str, Any]) -> Any:
    content = message.get("content")
    return message.get("tool_calls") if content is None or content in PLACEHOLDERS else content


def _answer(value: Any) -> str | None:
    """Return an answer as text: JSON where it is a number, a list or calls."""
    if isinstance(value, str):
        return value if value not in PLACEHOLDERS else None
    return None if value is None or value == [] else json.dumps(value, ensure_ascii=False)


def asked(
    question: str, answer: str, system: str = "", before: list[tuple[str, str]] | None = None
) -> Dialogue:
    """Return a chat of checked texts: an answer to a question, perhaps after others."""
    messages = [{"role": "system", "content": system}] if system.strip() else []
    for user, assistant in [*(before or []), (question, answer)]:
        messages += [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return Dialogue(messages)


def _checked(
    given: list[Any], key: str, tools: Any, may_end_empty: bool = False
) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
    messages: list[dict[str, Any]] = []
    for number, message in enumerate(given):
        empty = may_end_empty and number == len(given) - 1
        before = messages[-1]["role"] if messages else None
        messages.append(_message(f"{key}[{number}]", message, before, empty))
    if messages and messages[0]["role"] == "system":
        for name in ("functions", "tools"):
            tools = messages[0].pop(name, None) or tools
    return messages, schemas(f"{key}: tools", tools)


def _message(field: str, message: Any, before: str | None, empty: bool) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise BadRow(field, f"found {kind(message)}", 'must be {"role": "user", "content": "..."}')
    role = message.get("role")
    if role not in ROLES:
        raise BadRow(f"{field}.role", f"found {shown(role)}", f"must be one of: {', '.join(ROLES)}")
    _order(f"{field}.role", role, before)
    message = {key: value for key, value in message.items() if value is not None}
    if role == "assistant" and "tool_calls" in message:
        message["tool_calls"] = calls(f"{field}.tool_calls", message["tool_calls"])
        message.setdefault("content", "")
    if "reasoning_content" in message and not isinstance(message["reasoning_content"], str):
        raise BadRow(
            f"{field}.reasoning_content", f"found {kind(message['reasoning_content'])}", "must be a string"
        )
    if not (role == "tool" or message.get("tool_calls") or message.get("reasoning_content")):
        string(f"{field}.content", message.get("content"), empty)
    elif "content" in message and message["content"] != "":
        string(f"{field}.content", message["content"], empty=True)
    if "loss_mask" in message or "loss_weight" in message:
        _weights(field, role, message)
    return message


def _order(field: str, role: str, before: str | None) -> None:
    if role == "system" and before is not None:
        raise BadRow(field, f"a system message after {before}", "a system message comes first, once")
    if role == before and role != "tool":
        raise BadRow(field, f"{role} twice in a row", "join the two messages, or mend the roles")
    if role == "tool" and before not in ("assistant", "tool"):
        raise BadRow(field, f"a tool's result after {before or 'nothing'}", "it follows the assistant's call")


def _weights(field: str, role: str, message: Mapping[str, Any]) -> None:
    """Check how much a message counts: only what the assistant says can be learned."""
    for name in ("loss_mask", "loss_weight"):
        value = message.get(name, 0)
        if not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
            raise BadRow(f"{field}.{name}", f"found {shown(value)}", "must be a number, 0 or more")
        if name == "loss_mask" and value not in (0, 1):
            raise BadRow(
                f"{field}.{name}",
                f"found {shown(value)}",
                "must be 0 or 1; other weights go into loss_weight",
            )
        if value and role != "assistant":
            raise BadRow(
                f"{field}.{name}",
                f"found {shown(value)} on a message of {role}",
                "only the assistant's is learned",
            )


def calls(field: str, given: Any) -> list[dict[str, Any]]:
    """Return the calls of a message, each with a name and arguments."""
    given = parsed(field, given)
    if not isinstance(given, list):
        raise BadRow(field, f"found {kind(given)}", "must be a list of calls")
    for number, call in enumerate(given):
        inner = call.get("function", call) if isinstance(call, dict) else call
        if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
            raise BadRow(
                f"{field}[{number}]", f"found {shown(call)}", 'must be {"name": "...", "arguments": {...}}'
            )
        if not isinstance(inner.get("arguments"), (dict, str)):
            raise BadRow(
                f"{field}[{number}].arguments",
                f"found {kind(inner.get('arguments'))}",
                "must be an object, {} if none",
            )
    return given


def schemas(field: str, tools: Any) -> list[dict[str, Any]] | None:
    """Return the schemas of tools, None if there are none."""
    if tools is None or tools == "":
        return None
    tools = parsed(field, tools)
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise BadRow(field, f"found {kind(tools)}", "must be a list of tool schemas")
    return tools or None
