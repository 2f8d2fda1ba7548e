"""`danlu tools list`: the tools with what they take."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from danlu.tools_box import box_of, box_options


@click.command(name="list")
@box_options
@click.option("--json", "as_json", is_flag=True, help="As a request's `tools` has them.")
def command(tools: str, mcp: str | None, as_json: bool) -> None:
    """Print the tools, one a line: its name, what it takes (? may be left out), what it does.

    \b
    danlu tools list
    danlu tools list --tools starter --json > tools.json
    danlu tools list --mcp http://localhost:8100/mcp
    """
    with box_of(tools, mcp) as box:
        definitions = box.definitions()
    if as_json:
        print(json.dumps(definitions, ensure_ascii=False, indent=2))
        return
    rows = [(signature(each["function"]), each["function"].get("description", "")) for each in definitions]
    width = max((len(taken) for taken, _ in rows), default=0)
    for taken, says in rows:
        print(f"{taken:{width}}  {says}".rstrip())


def signature(function: Mapping[str, Any]) -> str:
    """Return a tool as one would write its call.

    >>> signature({"name": "f", "parameters": {"properties": {"x": {}, "y": {}}, "required": ["x"]}})
    'f(x, y?)'
    """
    schema = function.get("parameters") or {}
    required = schema.get("required", schema.get("properties", {}))  # who says nothing means all
    taken = [name if name in required else f"{name}?" for name in schema.get("properties", {})]
    return f"{function['name']}({', '.join(taken)})"
