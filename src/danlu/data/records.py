"""What one row of a file says, checked: a text, or a dialogue.

    {"text": "..."}                                                    -> Text
    {"conversations": [{"role": "user", "content": "..."}, ...]}       -> Dialogue
    {"messages": [...], "tools": [...]}                                -> Dialogue

The shape is recognised from a row's keys, the purpose comes from the stage; a shape that does not
serve the purpose is an error, never a guess. A new shape is one function here and one line in SHAPES.
Whatever is wrong is raised as `BadRow` with the field; the source adds file and line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from danlu.base.errors import nearest
from danlu.data.rows import BadRow

ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class Text:
    """A plain text."""

    text: str


@dataclass(frozen=True)
class Tokens:
    """A text that is token ids already, its begin and end among them if it has any."""

    ids: list[int]


@dataclass(frozen=True)
class Dialogue:
    """Messages in order, and the tools they may call."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None


@dataclass(frozen=True)
class Preference:
    """Two ways to go on from the same question, the first the better one."""

    chosen: Dialogue
    rejected: Dialogue


@dataclass(frozen=True)
class Prompt:
    """A chat that waits for the assistant; `answer` is what it should come to, where that is known."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
    answer: str | None = None


@dataclass(frozen=True)
class Label:
    """A text and the name of its class."""

    text: str
    label: str


@dataclass(frozen=True)
class Caption:
    """A picture by its file, and texts that each describe it."""

    image: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class PictureDialogue:
    """A chat about a picture; `<image>` stands in the message that shows it."""

    image: str
    messages: list[dict[str, Any]]


@dataclass(frozen=True)
class Relevance:
    """A query and the pictures that answer it; without its text it is an answer to be judged."""

    text_id: int | str
    text: str | None
    image_ids: tuple[int | str, ...]


Record = Text | Tokens | Dialogue | Preference | Prompt | Label | Caption | PictureDialogue | Relevance
PURPOSES = ("pretrain", "chat", "preference", "prompt", "classify", "caption", "picture", "retrieval")


def dialogues(record: Record) -> Iterator[Dialogue]:
    """Yield the chats in a record: two of a preference, none of a text."""
    if isinstance(record, Dialogue):
        yield record
    elif isinstance(record, Preference):
        yield from (record.chosen, record.rejected)
    elif isinstance(record, Prompt):
        yield Dialogue(record.messages, record.tools)
    elif isinstance(record, PictureDialogue):
        yield Dialogue(record.messages)


def texts(record: Record) -> Iterator[str]:
    """Yield every text that a record says: messages, thoughts, calls, captions; not the tools' schemas."""
    if isinstance(record, (Text, Label)):
        yield record.text
    elif isinstance(record, Caption):
        yield from record.texts
    elif isinstance(record, Relevance):
        yield from [record.text] if record.text is not None else []
    for dialogue in dialogues(record):
        for message in dialogue.messages:
            for said in (message.get("reasoning_content"), message.get("content"), message.get("tool_calls")):
                if said:
                    yield said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)


class Shape(NamedTuple):
    """One way to write rows: the key that tells it, its purpose, its converter."""

    key: str
    purpose: str
    convert: Callable[[Mapping[str, Any]], Record]


def recognise(row: Any, purpose: str | None) -> tuple[str, Record]:
    """Return the name of a row's shape and its record; without a purpose, any shape will do."""
    if not isinstance(row, dict):
        raise BadRow("", f"the row is {_kind(row)}, not an object", 'each line is {"key": value, ...}')
    found = [name for name, shape in SHAPES.items() if shape.key in row]
    fitting = [name for name in found if purpose in (None, SHAPES[name].purpose)]
    if len(fitting) > 1:
        raise BadRow("", f"the row has both {' and '.join(map(repr, fitting))}", "keep the one that is meant")
    if fitting:
        return fitting[0], SHAPES[fitting[0]].convert(row)
    wanted = [shape.key for shape in SHAPES.values() if purpose in (None, shape.purpose)]
    if found:
        raise BadRow(
            found[0],
            f"this is for {SHAPES[found[0]].purpose}, not for {purpose}",
            f"rows with {_any(wanted)}",
        )
    raise BadRow(wanted[0], f"is missing; the row has {_any(list(row)) or 'no keys'}", _rename(row, wanted))


def _rename(row: Mapping[str, Any], wanted: list[str]) -> str:
    close = nearest(wanted[0], row) if row else ""
    return (
        f"rename {close.split()[-1].rstrip('?')} to '{wanted[0]}'"
        if close.startswith("did")
        else f"rows with {_any(wanted)}"
    )


def _text(row: Mapping[str, Any]) -> Text:
    return Text(_string("text", row["text"]))


def _conversations(row: Mapping[str, Any]) -> Dialogue:
    return _dialogue(row, "conversations")


def _messages(row: Mapping[str, Any]) -> Dialogue:
    return _dialogue(row, "messages")


SHAPES = {
    "text": Shape("text", "pretrain", _text),
    "conversations": Shape("conversations", "chat", _conversations),
    "messages": Shape("messages", "chat", _messages),
}


def _dialogue(row: Mapping[str, Any], key: str) -> Dialogue:
    """Return the messages under a key, each checked, and the tools of the row or of its system message."""
    given = row[key]
    if not isinstance(given, list) or not given:
        raise BadRow(key, f"found {_kind(given)}", "a list of at least one message")
    messages: list[dict[str, Any]] = []
    for number, message in enumerate(given):
        messages.append(_message(f"{key}[{number}]", message, messages[-1]["role"] if messages else None))
    if not any(message["role"] == "assistant" for message in messages):
        raise BadRow(
            key, "the assistant says nothing, so nothing can be learned", "add its answer, or remove the row"
        )
    first = messages[0]
    tools = row.get("tools")
    for name in ("functions", "tools"):
        tools = first.pop(name, None) or tools if first["role"] == "system" else tools
    return Dialogue(messages, _tools(f"{key}: tools", tools))


def _message(field: str, message: Any, before: str | None) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise BadRow(field, f"found {_kind(message)}", '{"role": "user", "content": "..."}')
    role = message.get("role")
    if role not in ROLES:
        raise BadRow(f"{field}.role", f"found {_shown(role)}", f"one of: {', '.join(ROLES)}")
    _order(f"{field}.role", role, before)
    message = {key: value for key, value in message.items() if value is not None}
    if role == "assistant" and "tool_calls" in message:
        message["tool_calls"] = _calls(f"{field}.tool_calls", message["tool_calls"])
        message.setdefault("content", "")
    if "reasoning_content" in message and not isinstance(message["reasoning_content"], str):
        raise BadRow(f"{field}.reasoning_content", f"found {_kind(message['reasoning_content'])}", "a string")
    if not (role == "tool" or message.get("tool_calls") or message.get("reasoning_content")):
        _string(f"{field}.content", message.get("content"))
    elif "content" in message and message["content"] != "":
        _string(f"{field}.content", message["content"], empty=True)
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
            raise BadRow(f"{field}.{name}", f"found {_shown(value)}", "a number, 0 or more")
        if name == "loss_mask" and value not in (0, 1):
            raise BadRow(
                f"{field}.{name}", f"found {_shown(value)}", "0 or 1; other weights go into loss_weight"
            )
        if value and role != "assistant":
            raise BadRow(
                f"{field}.{name}",
                f"found {_shown(value)} on a message of {role}",
                "only the assistant's is learned",
            )


def _calls(field: str, calls: Any) -> list[dict[str, Any]]:
    calls = _parsed(field, calls)
    if not isinstance(calls, list):
        raise BadRow(field, f"found {_kind(calls)}", "a list of calls")
    for number, call in enumerate(calls):
        inner = call.get("function", call) if isinstance(call, dict) else call
        if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
            raise BadRow(f"{field}[{number}]", f"found {_shown(call)}", '{"name": "...", "arguments": {...}}')
        if not isinstance(inner.get("arguments"), (dict, str)):
            raise BadRow(
                f"{field}[{number}].arguments",
                f"found {_kind(inner.get('arguments'))}",
                "an object, {} if none",
            )
    return calls


def _tools(field: str, tools: Any) -> list[dict[str, Any]] | None:
    if tools is None or tools == "":
        return None
    tools = _parsed(field, tools)
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise BadRow(field, f"found {_kind(tools)}", "a list of tool schemas")
    return tools or None


def _parsed(field: str, value: Any) -> Any:
    """Return what a text of JSON holds; other values as they are."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError) as error:
        raise BadRow(
            field, f"holds text that is not JSON: {error}", "mend the text, or write the value itself"
        ) from None


def _string(field: str, value: Any, empty: bool = False) -> str:
    if not isinstance(value, str):
        raise BadRow(field, f"found {_kind(value)}", "a string")
    if not empty and not value.strip():
        raise BadRow(field, "is empty", "write something, or remove the row")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        broken = value[error.start].encode("ascii", "backslashreplace").decode()
        raise BadRow(
            field, f"holds half a character, {broken}, at {error.start}", "write the whole character"
        ) from None
    return value


def _kind(value: Any) -> str:
    """Return a JSON value's kind in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, dict)) and not value:
        return "an empty list" if isinstance(value, list) else "an empty object"
    names = {str: "a string", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _any(names: list[str]) -> str:
    return " or ".join(f"'{name}'" for name in names[:6]) + (" ..." if len(names) > 6 else "")
