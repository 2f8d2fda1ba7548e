"""Rows whose messages say who speaks: {"conversations": [{"from": "human", "value": "..."}, ...]}.

    human, user              the user
    gpt, assistant, ...      the assistant; `<tool_call>` blocks that can be read become calls, be they
                             JSON or what Python prints
    function_call            the assistant's calls, together with what it said just before
    observation, tool, ...   a tool's result, without a `<tool_response>` around it
    system                   the system; tools written out in a known frame are taken out of it

Tools are taken from the row's "tools", else from the system text, else, where calls are made, they are
told from the calls: their names and the names and types of their arguments. The record says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from danlu.data.literals import literal
from danlu.data.messages import calls, dialogue, prompt, schemas
from danlu.data.records import Dialogue, Prompt, Record
from danlu.data.rows import BadRow
from danlu.data.shapes.frames import lifted
from danlu.data.shapes.xlam import call, schema
from danlu.data.values import kind, shown, string

Row = Mapping[str, Any]
Messages = list[dict[str, Any]]

SPEAKERS = {
    "system": "system",
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "model", "bot", "bard", "bing"), "assistant"),
    "function_call": "calls",
    **dict.fromkeys(("observation", "tool", "tool_response", "function_response", "function"), "tool"),
}
BLOCK = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>\s*", re.DOTALL)
RESPONSE = re.compile(r"<tool_response>\n?(.*?)\n?</tool_response>\s*", re.DOTALL)
WEIGHTS = {"weight": "loss_weight", "loss_weight": "loss_weight", "loss_mask": "loss_mask"}
TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}


def chat(row: Row, purpose: str | None) -> Record:
    """Return the chat with its tools; from where they are said, or from the calls."""
    given = row["conversations"]
    messages: Messages = []
    for number, turn in enumerate(given):
        for message in _messages(f"conversations[{number}]", turn):
            _add(messages, message)
    messages, tools = _tools(messages, row.get("tools"))
    make = prompt if purpose == "prompt" else dialogue
    record = make(messages, "conversations", tools)
    made = [each["function"] for message in messages for each in message.get("tool_calls", [])]
    if isinstance(record, Dialogue) and not record.tools and made and not _written_out(messages):
        return Dialogue(record.messages, inferred(made), inferred=True)
    return record


def _messages(field: str, turn: Any) -> Iterator[dict[str, Any]]:
    """Yield the messages that a turn is."""
    if not isinstance(turn, dict):
        raise BadRow(field, f"found {kind(turn)}", '{"from": "human", "value": "..."}')
    speaker = turn.get("from")
    if not isinstance(speaker, str) or speaker.lower() not in SPEAKERS:
        raise BadRow(f"{field}.from", f"found {shown(speaker)}", f"one of: {', '.join(SPEAKERS)}")
    role, value = SPEAKERS[speaker.lower()], turn.get("value")
    if role == "calls":
        yield {
            "role": "assistant",
            "content": "",
            "tool_calls": _calls(f"{field}.value", value),
            **_weight(turn),
        }
    elif role == "tool":
        value = string(f"{field}.value", value, empty=True)
        results = RESPONSE.findall(value) if not RESPONSE.sub("", value).strip() else []
        yield from ({"role": "tool", "content": result} for result in results or [value])
    elif role == "assistant":
        yield {**_said(string(f"{field}.value", value, empty=True)), **_weight(turn)}
    else:
        yield {"role": role, "content": string(f"{field}.value", value)}


def _weight(turn: Row) -> dict[str, Any]:
    return {ours: turn[theirs] for theirs, ours in WEIGHTS.items() if turn.get(theirs) is not None}


def _calls(field: str, value: Any) -> list[dict[str, Any]]:
    given = literal(field, value)
    given = calls(field, given if isinstance(given, list) else [given])
    return [call(f"{field}[{number}]", each) for number, each in enumerate(given)]


def _said(value: str) -> dict[str, Any]:
    """Return the assistant's message; calls at its end become calls if every one of them can be read."""
    before, *_ = value.partition("<tool_call>")
    blocks = value[len(before) :]
    if blocks and not BLOCK.sub("", blocks):
        try:
            made = [each for block in BLOCK.findall(blocks) for each in _calls("", block)]
        except BadRow:  # text that only looks like a call is what the assistant says
            return {"role": "assistant", "content": value}
        return {"role": "assistant", "content": before.rstrip(), "tool_calls": made}
    return {"role": "assistant", "content": value}


def _add(messages: Messages, message: dict[str, Any]) -> None:
    """Add a message; calls right after what the assistant said are of the same turn."""
    last = messages[-1] if messages else {}
    if message["role"] == last.get("role") == "assistant" and "tool_calls" in message:
        last["content"] = "\n".join(filter(None, (last["content"], message["content"])))
        last["tool_calls"] = [*last.get("tool_calls", []), *message["tool_calls"]]
    else:
        messages.append(message)


def _tools(messages: Messages, given: Any) -> tuple[Messages, list[dict[str, Any]] | None]:
    """Return messages without tools written out in the system text, and the tools."""
    tools = schemas("tools", given)
    if messages and messages[0]["role"] == "system":
        text, written = lifted(messages[0]["content"])
        tools = tools or written
        messages = [*([{"role": "system", "content": text}] if text else []), *messages[1:]]
        if _written_out(messages):
            return messages, None  # said once, where it stands
    return messages, [schema(tool) for tool in tools] if tools else None


def _written_out(messages: Messages) -> bool:
    return messages[0]["role"] == "system" and "<tools>" in messages[0]["content"]


def inferred(made: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a schema for every name that is called, with the arguments that were given."""
    arguments: dict[str, dict[str, set[str | None]]] = {}
    for each in made:
        known = arguments.setdefault(each["name"], {})
        for name, value in each["arguments"].items():
            known.setdefault(name, set()).add(TYPES.get(type(value)))
    return [
        schema({"name": name, "parameters": {"type": "object", "properties": _properties(known)}})
        for name, known in arguments.items()
    ]


def _properties(known: Mapping[str, set[str | None]]) -> dict[str, Any]:
    """Return each argument with its type, where all calls agree on one."""
    return {
        name: {"type": kind} if len(kinds) == 1 and (kind := next(iter(kinds))) else {}
        for name, kinds in known.items()
    }


def named(record: Record) -> str:
    """Return what the row is: a prompt, a chat with calls, or a plain one."""
    if isinstance(record, Prompt):
        return "rlaif"
    assert isinstance(record, Dialogue)
    return "glaive raw" if record.tools else "sharegpt"
