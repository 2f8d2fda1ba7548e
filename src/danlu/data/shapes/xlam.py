"""Rows that are a question, the tools at hand, and the calls that answer it: {"query", "tools", "answers"}.

Tools and answers may be values or JSON text. Their parameters are often a bare list of names with
types of Python; they become the schema that servers take and models are asked with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from danlu.data.literals import literal
from danlu.data.messages import calls as checked
from danlu.data.messages import schemas
from danlu.data.records import Dialogue
from danlu.data.rows import BadRow
from danlu.data.values import kind, parsed, string

Row = Mapping[str, Any]

TYPES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "list": "array",
    "tuple": "array",
    "set": "array",
    "dict": "object",
}
JSON_TYPES = {*TYPES.values(), "null"}


def calls(row: Row, purpose: str | None) -> Dialogue:
    """Return a question, and the calls as the assistant's turn."""
    given = parsed("answers", row["answers"])
    if isinstance(given, list) and not given:
        raise BadRow(
            "answers", "found an empty list, so nothing is called", "add the call, or remove the row"
        )
    made = [call(f"answers[{number}]", each) for number, each in enumerate(checked("answers", given))]
    tools = [schema(tool) for tool in schemas("tools", row.get("tools")) or []]
    question = {"role": "user", "content": string("query", row["query"])}
    return Dialogue([question, {"role": "assistant", "content": "", "tool_calls": made}], tools or None)


def call(field: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checked call in the form that servers use, its arguments an object."""
    inner = given.get("function", given)
    arguments = literal(f"{field}.arguments", inner["arguments"] or "{}")
    if not isinstance(arguments, dict):
        raise BadRow(f"{field}.arguments", f"found {kind(arguments)}", "an object, {} if none")
    return {"type": "function", "function": {"name": inner["name"], "arguments": arguments}}


def schema(tool: dict[str, Any]) -> dict[str, Any]:
    """Return a tool in the form that servers use, {"type": "function", "function": {...}}."""
    if "function" in tool or "name" not in tool:
        return tool
    parameters = tool.get("parameters")
    if isinstance(parameters, dict) and not _is_schema(parameters):
        tool = {**tool, "parameters": _parameters(parameters)}
    return {"type": "function", "function": tool}


def _is_schema(parameters: Mapping[str, Any]) -> bool:
    return isinstance(parameters.get("type"), str) or isinstance(parameters.get("properties"), dict)


def _parameters(bare: Mapping[str, Any]) -> dict[str, Any]:
    """Return names with their types as a JSON schema.

    >>> _parameters({"city": {"type": "str"}, "days": {"type": "int, optional"}})["required"]
    ['city']
    """
    described = {name: about if isinstance(about, dict) else {} for name, about in bare.items()}
    required = [
        name
        for name, about in described.items()
        if "default" not in about and "optional" not in str(about.get("type", "")).lower()
    ]
    properties = {name: {**about, **_type(about)} for name, about in described.items()}
    for name, about in properties.items():
        if about["type"] is None:
            properties[name] = {key: value for key, value in about.items() if key != "type"}
    return {"type": "object", "properties": properties, "required": required}


def _type(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the type of JSON that a type of Python stands for; None where it cannot be told.

    >>> _type({"type": "List[int], optional"})
    {'type': 'array', 'items': {'type': 'integer'}}
    """
    written = str(about.get("type", "")).removesuffix(", optional").strip()
    if optional := re.fullmatch(r"Optional\[(.*)\]", written):
        written = optional[1]
    outer, _, inner = written.partition("[")
    name = outer.strip().lower()
    found = TYPES.get(name, name if name in JSON_TYPES else None)
    if found == "array" and (inside := _type({"type": inner.rstrip("] ")})["type"]):
        return {"type": found, "items": {"type": inside}}
    return {"type": found}
