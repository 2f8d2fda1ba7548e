"""/openapi.json: what FastAPI tells of the endpoints, with the errors as they really are."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel


class Problem(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorAnswer(BaseModel):
    """An answer that is an error, in OpenAI's shape."""

    error: Problem


SAID = {
    400: "The request is wrong; the message says what to do.",
    401: "No known API key.",
    404: "No such model, or nothing at this path.",
    405: "Another method is wanted.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    429: "All places are taken; Retry-After says when to come again.",
    500: "The server failed.",
    503: "The server is shutting down, or out of memory.",
    504: "Not done in time.",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": text} for status, text in SAID.items()
}

EVENT = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
STREAMED: dict[int | str, dict[str, Any]] = {
    **ERRORS,
    200: {"content": {"text/event-stream": {"schema": EVENT}}, "description": "The answer."},
}
"""Of endpoints whose answer may be a stream of events; before OpenAPI 3.2 the schema is that of each."""
WRITTEN: dict[int | str, dict[str, Any]] = {
    **ERRORS,
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "In Prometheus' format."},
}


def described(app: FastAPI) -> dict[str, Any]:
    """Return the description, made once. No endpoint answers 422, which FastAPI adds to each."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        for path in schema["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        for name in ("HTTPValidationError", "ValidationError"):
            schema["components"]["schemas"].pop(name, None)
        app.openapi_schema = schema
    return app.openapi_schema
