"""What a tool is called and takes, in the two forms that OpenAI's API knows, and whether a call fits it.

    {"type": "function", "function": {"name": "f", "description": "...", "parameters": {...}}}
    {"name": "f", "description": "...", "parameters": {...}}

`parameters` is a JSON schema. Checked of it is what tools use: types, enum, const, required, properties,
additionalProperties, items, bounds, anyOf, oneOf, allOf and references into itself; other keywords are let
pass.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from danlu.base.errors import UserError
from danlu.tools.schemas import faults

Definition = Mapping[str, Any]
LONGEST = 128
ELSEWHERE = ("$ref", "allOf", "anyOf", "oneOf", "patternProperties")
"""Keywords beside `properties` that may say which arguments there are."""
FORM = '{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", ...}}}'


def function_of(tool: Definition) -> dict[str, Any]:
    """Return the inner form, whichever form a tool is in."""
    inner = tool.get("function", tool)
    return dict(inner)


def openai_form(tool: Definition) -> dict[str, Any]:
    """Return the outer form, whichever form a tool is in."""
    return {"type": "function", "function": function_of(tool)}


def parameters_of(tool: Definition) -> dict[str, Any]:
    """Return the schema of a tool's arguments; without one, that of an object."""
    return function_of(tool).get("parameters") or {"type": "object", "properties": {}}


def checked(tools: Any, field: str = "tools") -> list[dict[str, Any]]:
    """Return tools of a user in the outer form; an error says which of them is wrong, and why."""
    if not isinstance(tools, list):
        raise UserError(f"{field}: found {_kind(tools)}, not a list", f"a list of {FORM}")
    known: dict[str, int] = {}
    for number, tool in enumerate(tools):
        where = f"{field}[{number}]"
        name = _check(tool, where)
        if name in known:
            raise UserError(
                f"{where}: '{name}' is the name of {field}[{known[name]}] too", "rename one of them"
            )
        known[name] = number
    return [openai_form(tool) for tool in tools]


def _check(tool: Any, where: str) -> str:
    """Refuse what is no definition; return its name."""
    if not isinstance(tool, dict):
        raise UserError(f"{where}: found {_kind(tool)}, not an object", FORM)
    if (kind := tool.get("type", "function")) != "function":
        raise UserError(f"{where}.type: found {kind!r}; only functions can be called", '"type": "function"')
    inner = tool
    if "function" in tool:
        inner, where = tool["function"], f"{where}.function"
        if not isinstance(inner, dict):
            raise UserError(f"{where}: found {_kind(inner)}, not an object", FORM)
    name = inner.get("name")
    if not isinstance(name, str) or not name:
        found = (
            "is missing" if name is None else "is empty" if name == "" else f"found {_kind(name)}, not text"
        )
        raise UserError(f"{where}.name: {found}", FORM)
    if len(name) > LONGEST or not name.isprintable() or any(letter.isspace() for letter in name):
        raise UserError(
            f"{where}.name: {name[:LONGEST]!r} cannot be called",
            f"up to {LONGEST} letters, digits and signs, without spaces",
        )
    if not isinstance(inner.get("description", ""), str | None):
        raise UserError(f"{where}.description: found {_kind(inner['description'])}, not text", FORM)
    if not isinstance(inner.get("strict"), bool | None):
        raise UserError(f"{where}.strict: found {_kind(inner['strict'])}", "true or false")
    _check_parameters(inner.get("parameters"), f"{where}.parameters")
    return name


def _check_parameters(schema: Any, where: str) -> None:
    if schema is None:
        return
    if not isinstance(schema, dict):
        raise UserError(
            f"{where}: found {_kind(schema)}, not an object", 'a JSON schema: {"type": "object", ...}'
        )
    if schema.get("type", "object") != "object":
        raise UserError(f"{where}.type: found {schema['type']!r}", '"object": arguments have names')
    properties = schema.get("properties", {})
    if not isinstance(properties, dict):
        raise UserError(
            f"{where}.properties: found {_kind(properties)}, not an object", '{"city": {"type": "string"}}'
        )
    for key, about in properties.items():
        if not isinstance(about, dict | bool):
            raise UserError(
                f"{where}.properties.{key}: found {_kind(about)}, not an object", '{"type": "string"}'
            )
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(key, str) for key in required):
        raise UserError(f"{where}.required: found {_kind(required)}", "a list of the names of arguments")
    if absent := [key for key in required if key not in properties and properties]:
        raise UserError(
            f"{where}.required: '{absent[0]}' is not among the properties", "describe it, or leave it out"
        )


def arguments_of(call: Any) -> Any:
    """Return a call's arguments as values. Raises ValueError where they are no JSON.

    A call is anything with arguments: ours, a server's, or {"name", "arguments"}.
    """
    if isinstance(call, Mapping):
        call = call.get("function", call)
        given = call.get("arguments")
    else:
        given = getattr(getattr(call, "function", call), "arguments", call)
    return json.loads(given) if isinstance(given, str) else given


def complete(call: Any, definition: Definition) -> bool:
    """Whether a call has every argument that its tool requires; a tool that requires none needs none.

    >>> city = {"name": "f", "parameters": {"properties": {"city": {}}, "required": ["city"]}}
    >>> complete({"name": "f", "arguments": '{"city": "北京"}'}, city), complete({"arguments": "{}"}, city)
    (True, False)
    >>> complete({"name": "f", "arguments": "{}"}, {"name": "f"})
    True
    """
    try:
        given = arguments_of(call) or {}
    except (ValueError, RecursionError):
        return False
    required: Sequence[str] = parameters_of(definition).get("required", [])
    return isinstance(given, Mapping) and all(given.get(key) not in (None, "") for key in required)


def misfits(given: Any, definition: Definition) -> list[str]:
    """Return what is wrong with arguments: what is missing, unknown, or of another type; [] if they fit."""
    schema = parameters_of(definition)
    if not isinstance(given, Mapping):
        return [f"the arguments are {_kind(given)}, not an object"]
    said = schema.get("properties")
    properties = said if isinstance(said, Mapping) else {}
    takes = f"; it takes {', '.join(properties)}" if properties else "; it takes no arguments"
    more = schema.get("additionalProperties") not in (None, False) or any(key in schema for key in ELSEWHERE)
    unknown = [] if more else [key for key in given if key not in properties]
    return faults(given, schema) + [f"there is no argument '{key}'{takes}" for key in unknown]


def _kind(value: Any) -> str:
    kinds = {
        bool: "true or false",
        str: "text",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return kinds.get(type(value), "nothing") if value is not None else "nothing"
