"""The tools of a case: what the model is told of them, and what runs when it calls one.

    Box(case, toolboxes).offered       definitions, in the order the case names them
    Box(case, toolboxes).run(name, arguments)

Three kinds of toolboxes can run: the classic four, the starter set's nine, and those of an MCP server. A
case may bring tools of its own, which always answer the same, and may let a tool fail for its first calls.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from danlu.base.errors import UserError, nearest
from danlu.evaluate.tools.cases import Case
from danlu.starter import tools_catalogue as starter
from danlu.tools import classic
from danlu.tools.definitions import Definition, checked, function_of, parameters_of
from danlu.tools.run import Runs, Tool, Toolbox, failed

Toolboxes = Mapping[str, Runs]


def starter_tools() -> list[Tool]:
    """Return the tools of the starter set's dialogues."""
    return [Tool(starter.schema(name), _runs(name)) for name in starter.PARAMETERS]


def _runs(name: str) -> Any:
    return lambda **arguments: starter.run(name, arguments)


@functools.cache
def _here() -> dict[str, Runs]:
    return {"classic": classic.toolbox(), "starter": Toolbox(starter_tools())}


def toolboxes(mcp: Runs | None = None) -> dict[str, Runs]:
    """Return what can run, by the names that cases use."""
    return _here() | ({"mcp": mcp} if mcp else {})


class Box:
    """The tools of one case, for one talk."""

    def __init__(self, case: Case, boxes: Toolboxes) -> None:
        if case.toolbox not in boxes:
            hint = "--mcp URL or --mcp COMMAND" if case.toolbox == "mcp" else "one of: " + ", ".join(boxes)
            raise UserError(f"case '{case.id}': no toolbox '{case.toolbox}' is here", hint)
        self._box = boxes[case.toolbox]
        self._starter = case.toolbox == "starter"
        self._own = {str(function_of(tool)["name"]) for tool in case.tools if isinstance(tool, dict)}
        self._returns = case.returns
        self._failing = {name: list(errors) for name, errors in case.failing.items()}
        self.offered = _offered(case, self._box)
        for where, name in case.names:
            if name not in self.by_name:
                raise UserError(
                    f"case '{case.id}': {where}: no tool '{name}' is offered", nearest(name, self.by_name)
                )

    def run(self, name: str, arguments: str) -> str:
        """Return what a tool answers, as JSON text."""
        if self._failing.get(name):
            return failed(self._failing[name].pop(0))
        if name not in self.by_name:
            known = nearest(name, self.by_name) if self.by_name else "none at all"
            return failed(f"there is no tool '{name}'; {known}")
        if name in self._own:
            fixed = Tool(self.by_name[name], lambda **_: self._returns.get(name, {"ok": True}))
            return Toolbox([fixed]).call(name, arguments)
        return self._box.call(name, arguments)

    @functools.cached_property
    def by_name(self) -> dict[str, Definition]:
        """The definitions by name, each saying what its tool requires."""
        says = _requiring if self._starter else function_of
        return {str(function_of(tool)["name"]): says(tool) for tool in self.offered}


def _offered(case: Case, box: Runs) -> list[dict[str, Any]]:
    known = {str(function_of(tool)["name"]): tool for tool in box.definitions()}
    if not case.tools:
        return list(known.values())
    for tool in case.tools:
        if isinstance(tool, str) and tool not in known:
            raise UserError(f"case '{case.id}': {case.toolbox} has no tool '{tool}'", nearest(tool, known))
    return checked(
        [known[tool] if isinstance(tool, str) else tool for tool in case.tools], f"case '{case.id}': tools"
    )


def _requiring(tool: Definition) -> Definition:
    """Return a definition of a starter's tool that says what is required: everything it takes."""
    inner, parameters = function_of(tool), parameters_of(tool)
    if "required" in parameters or inner["name"] not in starter.PARAMETERS:
        return tool
    return {**inner, "parameters": {**parameters, "required": [*starter.PARAMETERS[inner["name"]]]}}


def fitting(cases: list[Case], mcp: Runs) -> list[Case]:
    """Return the cases whose tools an MCP server has all, to be run there."""
    here, there = toolboxes(), {_likeness(tool) for tool in mcp.definitions()}
    return [
        case.model_copy(update={"toolbox": "mcp"})
        for case in cases
        if there.issuperset(map(_likeness, _offered(case, here[case.toolbox])))
    ]


def _likeness(tool: Definition) -> tuple[str, str, frozenset[str]]:
    """Return what tells tools of one name apart: what they say they do, and what they take."""
    inner = function_of(tool)
    takes = frozenset(parameters_of(tool).get("properties", {}))
    return str(inner["name"]), inner.get("description") or "", takes
