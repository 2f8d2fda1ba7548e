"""The safe tools a server runs for whoever chats with its model, the page above all.

    GET /tools          {"tools": [...], "boxes": {"classic": [...], "starter": [...]}}
    POST /tools/call    {"name": "get_time", "arguments": {...}, "box": "starter"}
    GET /tools/cases    {"cases": [...]}, those that `danlu eval tools` plays

Two boxes have tools of the same names that take other arguments: the classic ones, which a call means unless
it names a box, and those that the starter set teaches.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from danlu.base.errors import nearest
from danlu.evaluate.tools.boxes import toolboxes
from danlu.evaluate.tools.ready import all_cases
from danlu.serve.problems import wrong
from danlu.serve.schema import CallRequest
from danlu.tools.run import Runs


def told() -> dict[str, Any]:
    """Return the definitions of all tools, those that a call without a box means first."""
    boxes = {name: box.definitions() for name, box in _boxes().items()}
    tools: dict[str, dict[str, Any]] = {}
    for box in boxes.values():
        for tool in box:
            tools.setdefault(tool["function"]["name"], tool)
    return {"tools": list(tools.values()), "boxes": boxes}


@functools.cache
def cases() -> dict[str, Any]:
    """Return the cases by which a model's calls are measured, what says nothing left out."""
    return {"cases": [case.model_dump(exclude_defaults=True) for case in all_cases()]}


def called(given: CallRequest) -> dict[str, str]:
    """Return what a tool answers; what is wrong with the call is an answer too."""
    boxes = _boxes()
    if given.box is not None and given.box not in boxes:
        raise wrong("box", f"there is no box {given.box[:40]!r}", nearest(given.box[:40], boxes))
    name = given.box or next((each for each, box in boxes.items() if _has(box, given.name)), "classic")
    return {"result": boxes[name].call(given.name, given.arguments)}


def _has(box: Runs, name: str) -> bool:
    return any(tool["function"]["name"] == name for tool in box.definitions())


def _boxes() -> Mapping[str, Runs]:
    return toolboxes()
