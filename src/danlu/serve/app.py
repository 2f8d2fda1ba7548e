"""The application: every endpoint in one table, each answering as OpenAI's or vLLM's does.

    POST /v1/chat/completions  /v1/completions  /v1/embeddings      GET /v1/models  /v1/models/{id}
    POST /tokenize  /detokenize                                     GET /health  /ready  /metrics
    POST /tools/call           GET /tools  /tools/cases             GET /  (the page)  /openapi.json

Whatever goes wrong is answered in OpenAI's shape (problems.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from danlu import __version__
from danlu.serve import chat, completions, texts, workshop
from danlu.serve.guard import Guard
from danlu.serve.house import House, beside
from danlu.serve.openapi import ERRORS, STREAMED, WRITTEN, described
from danlu.serve.problems import Refusal, failed, invalid, unknown_model
from danlu.serve.schema import (
    CallRequest,
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    EmbeddingRequest,
    TokenizeChat,
    TokenizeRequest,
    TokenizeText,
)

PAGE = Path(__file__).parent / "page" / "index.html"
POLICY = (
    "default-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src *"
)


def build(house: House) -> ASGIApp:
    """Return the application of a server."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        await house.worker.start()
        yield
        await house.worker.stopped()

    app = FastAPI(
        title="Danlu", version=__version__, lifespan=life, docs_url=None, redoc_url=None, openapi_url=None
    )
    app.add_exception_handler(Refusal, _refuse)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _failed)
    _answers(app, house)
    _about(app, house)
    guarded: ASGIApp = Guard(app, house, frozenset(route.path for route in app.routes))  # type: ignore[attr-defined]
    if house.rules.origins:
        guarded = CORSMiddleware(
            guarded,
            allow_origins=house.rules.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "retry-after"],
        )
    return guarded


def _answers(app: FastAPI, house: House) -> None:
    """Add what the model answers."""

    @app.post("/v1/chat/completions", responses=STREAMED, tags=["model"])
    async def chat_completions(given: ChatRequest, request: Request) -> Response:
        return await chat.answer(house, given, request)

    @app.post("/v1/completions", responses=STREAMED, tags=["model"])
    async def text_completions(given: CompletionRequest, request: Request) -> Response:
        return await completions.answer(house, given, request)

    @app.post("/v1/embeddings", responses=ERRORS, tags=["model"])
    async def embeddings(given: EmbeddingRequest, request: Request) -> Response:
        return JSONResponse(await texts.embeddings(house, given, request))

    @app.post("/tokenize", responses=ERRORS, tags=["tokens"])
    async def tokenize(given: TokenizeRequest, request: Request) -> Response:
        return JSONResponse(await beside(request, lambda: texts.tokenize(house, given)))

    @app.post("/detokenize", responses=ERRORS, tags=["tokens"])
    async def detokenize(given: DetokenizeRequest, request: Request) -> Response:
        return JSONResponse(await beside(request, lambda: texts.detokenize(house, given)))


def _about(app: FastAPI, house: House) -> None:
    """Add what the server tells of itself, its tools, and the page."""

    @app.get("/v1/models", responses=ERRORS, tags=["model"])
    async def models() -> Response:
        return JSONResponse({"object": "list", "data": [_card(house, name) for name in house.served.names]})

    @app.get("/v1/models/{name:path}", responses=ERRORS, tags=["model"])
    async def model(name: str) -> Response:
        if name not in house.served.names:
            raise unknown_model(name, house.served.names)
        return JSONResponse(_card(house, name))

    @app.get("/health", responses=ERRORS, tags=["server"])
    async def health() -> Response:
        return JSONResponse({"status": "ok"})

    @app.head("/health", include_in_schema=False)
    async def alive() -> Response:
        return Response()

    @app.get("/ready", responses=ERRORS, tags=["server"])
    async def ready() -> Response:
        if house.worker.draining:
            raise Refusal(503, "the server is shutting down; ask another, or again in a moment")
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", responses=WRITTEN, response_class=PlainTextResponse, tags=["server"])
    async def metrics() -> Response:
        return PlainTextResponse(house.meters.text(), media_type="text/plain; version=0.0.4")

    @app.get("/tools", responses=ERRORS, tags=["tools"])
    async def tools() -> Response:
        return JSONResponse(workshop.told())

    @app.get("/tools/cases", responses=ERRORS, tags=["tools"])
    async def cases() -> Response:
        return JSONResponse(await asyncio.to_thread(workshop.cases))

    @app.post("/tools/call", responses=ERRORS, tags=["tools"])
    async def call(given: CallRequest) -> Response:
        return JSONResponse(await asyncio.to_thread(workshop.called, given))

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return JSONResponse(await asyncio.to_thread(described, app))

    @app.get("/", responses=ERRORS, include_in_schema=False)
    async def page() -> Response:
        if not PAGE.is_file():
            raise Refusal(404, "this installation has no page; talk to /v1/chat/completions")
        return HTMLResponse(PAGE.read_bytes(), headers={"Content-Security-Policy": POLICY})


def _card(house: House, name: str) -> dict[str, Any]:
    served = house.served
    return {
        "id": name,
        "object": "model",
        "created": served.created,
        "owned_by": "danlu",
        "root": served.name,
        "parent": None if name == served.name else served.name,
        "max_model_len": served.max_len,
    }


async def _refuse(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, Refusal)
    return JSONResponse(problem.body, problem.status, headers=problem.headers)


async def _invalid(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, RequestValidationError)
    return await _refuse(request, invalid(problem.errors(), _names(request)))


async def _http(request: Request, problem: Exception) -> Response:
    """Answer what no endpoint took: an unknown path, another method, a body that cannot be read."""
    assert isinstance(problem, HTTPException)
    said = {
        404: f"there is nothing at {request.url.path[:80]!r}; /openapi.json tells what there is",
        405: f"{request.method[:20]} is not what {request.url.path[:80]!r} takes; see /openapi.json",
        400: "the body cannot be read; send one JSON object as UTF-8",
    }
    message = said.get(problem.status_code, str(problem.detail))
    return await _refuse(request, Refusal(problem.status_code, message, headers=problem.headers))


async def _failed(request: Request, problem: Exception) -> Response:
    """Answer what went wrong here; the guard, which gets the exception next, writes it to the log."""
    return await _refuse(request, failed())


def _names(request: Request) -> list[str]:
    """Return the parameters the asked endpoint knows."""
    return FIELDS.get(request.url.path, [])


FIELDS: dict[str, list[str]] = {
    "/v1/chat/completions": list(ChatRequest.model_fields),
    "/v1/completions": list(CompletionRequest.model_fields),
    "/v1/embeddings": list(EmbeddingRequest.model_fields),
    "/tokenize": list({**TokenizeText.model_fields, **TokenizeChat.model_fields}),
    "/detokenize": list(DetokenizeRequest.model_fields),
    "/tools/call": list(CallRequest.model_fields),
}
