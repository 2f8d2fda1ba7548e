"""What goes wrong, in the words and the shape OpenAI's clients know.

    {"error": {"message": "temperature: 3.0 is too much; give a number up to 2",
               "type": "invalid_request_error", "param": "temperature", "code": null}}

A message says what is wrong, what was found and what to do. A `UserError` of the engine becomes a 400 with
both its lines, so that whatever the engine refuses is told as the command line tells it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from danlu.base.errors import UserError, nearest

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
    504: "timeout_error",
}
SHOWN = 60
"""Characters of a wrong value that its message repeats."""


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """Return what is sent."""
        kind = KINDS.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def refused(error: UserError, param: str | None = None) -> Refusal:
    """Return the engine's refusal as an answer."""
    return Refusal(400, error.problem + (f"; {error.hint}" if error.hint else ""), param=param)


def wrong(param: str, problem: str, hint: str) -> Refusal:
    """Return the refusal of one parameter."""
    return Refusal(400, f"{param}: {problem}; {hint}", param=param)


def failed() -> Refusal:
    """Return how a fault of the server's own is told."""
    return Refusal(500, "the server failed; its log tells why")


def unknown_model(name: str, known: Sequence[str]) -> Refusal:
    """Return the refusal of a model that is not served here."""
    hint = nearest(name[:SHOWN], known)
    return Refusal(
        404, f"there is no model '{name[:SHOWN]}' here; {hint}", param="model", code="model_not_found"
    )


def invalid(errors: Sequence[Mapping[str, Any]], known: Sequence[str]) -> Refusal:
    """Return the first thing that pydantic found wrong with a request; `known` are the names it may have."""
    fault = max(errors, key=lambda error: _depth(error["loc"]))
    place = _place(fault["loc"])
    kind, found = fault["type"], fault.get("input")
    if kind == "json_invalid":
        reason = str((fault.get("ctx") or {}).get("error", "")).lower()
        return Refusal(400, f"the body is not valid JSON: {reason}; send one JSON object")
    if kind == "extra_forbidden":
        name = place.rpartition(".")[2]
        hint = nearest(name, known) if place in (name,) else "leave it out"
        return Refusal(400, f"{place}: there is no such parameter; {hint}", param=place)
    if kind == "missing" and not place:
        return Refusal(400, "the body is missing; send one JSON object as application/json")
    if kind == "missing":
        return Refusal(400, f"{place}: is missing; it must be given", param=place)
    if kind == "value_error":
        said = str(fault["ctx"]["error"])
        name = said.partition(":")[0]
        return Refusal(
            400, f"{place}: {said}" if place else said, param=place or (name if name.isidentifier() else None)
        )
    if not place:
        return Refusal(400, f"the body is {shown(found)}; send one JSON object as application/json")
    said = str(fault["msg"])
    return Refusal(400, f"{place}: found {shown(found)}; {said[:1].lower()}{said[1:]}", param=place)


def shown(value: Any) -> str:
    """Return a value as it may stand in a message."""
    text = repr(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def _depth(place: Sequence[str | int]) -> int:
    return sum(_place(place).count(mark) for mark in ".[")


def _place(parts: Sequence[str | int]) -> str:
    """Return where in a body something is wrong: messages[2].content.

    What pydantic adds for the alternatives of a union ('list[str]', 'Named') is no part of it.
    """
    place = ""
    for part in parts[1:]:
        if isinstance(part, int):
            place += f"[{part}]"
        elif (
            part.isidentifier()
            and part == part.lower()
            and part not in ("str", "int", "bool", "float", "text", "chat")
        ):
            place += f".{part}" if place else part
        elif not part.isidentifier() and "[" not in part and "-" not in part:
            place += f".{part[:SHOWN]}" if place else part[:SHOWN]
    return place
