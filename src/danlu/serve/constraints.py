"""What an answer must be like: a call of a tool, JSON, JSON of a schema."""

from __future__ import annotations

from typing import Any

from danlu.serve.fields import Settings
from danlu.serve.problems import wrong
from danlu.serve.schema import ChatRequest
from danlu.serve.served import Served


def form(served: Served, given: ChatRequest) -> str:
    """Return in which form this model writes calls."""
    found = served.profile.tool_parser
    if found is None:
        raise wrong(
            "tools",
            "this model's chat template writes no calls",
            "leave them out, or set `tool_choice` to 'none'",
        )
    return found


async def wanted(served: Served, given: Settings, thinking: bool = False) -> Any:
    """Return the grammar of an answer, None where any will do."""
    if given.structured_outputs or (given.response_format and given.response_format.type != "text"):
        raise wrong("response_format", "is not there yet", "leave it out")
    return None
