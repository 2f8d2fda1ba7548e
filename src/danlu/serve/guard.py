"""What stands before every endpoint: who may ask, how much, and what is written down of it.

    request   an id of its own  ->  a key, where one is wanted  ->  a body of bounded size, in bounded time
    answer    the id in `x-request-id`; counted by route and status; one line in the log

A body is read here to its end, so that one too large is refused while it comes, and one whose text is no text
(not UTF-8, or half of a character, written as \\ud83d) before anything looks into it.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import secrets
import time
import traceback
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from danlu.base.log import say
from danlu.serve.house import House
from danlu.serve.problems import Refusal, failed

OPEN = ("/", "/health", "/ready", "/openapi.json")
"""What anybody may ask for: the page, which asks for the key itself, and how the server is."""
SILENT = ("/health", "/ready", "/metrics")
HALVES = re.compile(rb"\\u[dD][89a-fA-F]")
NAME = re.compile(r"[\x21-\x7e]{1,128}")


class Guard:
    """An application around another."""

    def __init__(self, app: ASGIApp, house: House, routes: frozenset[str]) -> None:
        self.app = app
        self.house = house
        self.routes = routes
        self.keys = [key.encode() for key in house.rules.keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or say why not."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        asked = headers.get(b"x-request-id", b"").decode("latin-1")
        call = _Call(scope, send, asked if NAME.fullmatch(asked) else secrets.token_hex(16))
        try:
            self._known(scope, headers)
            body = await self._body(headers, receive)
            await self.app(scope, _again(body, receive), call.send)
        except Refusal as problem:
            await call.refuse(problem)
        except Exception as error:  # ours; told to the client as such, and to the log in full
            say("the server failed: " + "".join(traceback.format_exception(error)).rstrip())
            if not call.status:
                await call.refuse(failed())
        finally:
            self._note(call)

    def _known(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        if not self.keys or scope["path"] in OPEN or scope["method"] == "OPTIONS":
            return
        kind, _, key = headers.get(b"authorization", b"").partition(b" ")
        # Every key is compared, each in constant time: how long it takes tells nothing.
        same = [hmac.compare_digest(key.strip(), known) for known in self.keys]
        if kind.lower() != b"bearer" or not any(same):
            what = "no API key was sent" if not key else "this API key is not known here"
            raise Refusal(
                401,
                f"{what}; send 'Authorization: Bearer KEY'",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        most = self.house.rules.max_body
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > most:
            raise _too_large(most)
        try:
            body = await asyncio.wait_for(_read(receive, most), self.house.rules.body_seconds)
        except asyncio.TimeoutError:
            raise Refusal(408, "the body did not come in time; send it again") from None
        _is_text(body)
        return body

    def _note(self, call: _Call) -> None:
        path = call.scope["path"]
        route = (
            path if path in self.routes else "/v1/models/{id}" if path.startswith("/v1/models/") else "other"
        )
        self.house.meters.requests.add(1.0, route, str(call.status))
        if not self.house.rules.quiet and path not in SILENT:
            took = time.perf_counter() - call.began
            say(f"{call.status} {call.scope['method']} {path[:80]!r} {took:.2f} s {call.name}")


class _Call:
    """One request and what was answered."""

    def __init__(self, scope: Scope, send: Send, name: str) -> None:
        self.scope = scope
        self.name = name
        self.status = 0
        self.began = time.perf_counter()
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), (b"x-request-id", self.name.encode())]
        await self._send(message)

    async def refuse(self, problem: Refusal) -> None:
        body = json.dumps(problem.body, ensure_ascii=False).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body)), **problem.headers}
        if problem.status in (408, 413):
            headers["connection"] = "close"  # the rest of the body is nobody's to read
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": problem.status, "headers": raw})
        await self.send({"type": "http.response.body", "body": body})


async def _read(receive: Receive, most: int) -> bytes:
    pieces, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(499, "the client has left")
        piece = message.get("body", b"")
        size += len(piece)
        if size > most:
            raise _too_large(most)
        pieces.append(piece)
        if not message.get("more_body"):
            return b"".join(pieces)


def _too_large(most: int) -> Refusal:
    return Refusal(413, f"the body is larger than {most} bytes; send less, or raise --max-body")


def _again(body: bytes, receive: Receive) -> Receive:
    """Return what gives a body that was read already, then what comes after it."""
    given = False

    async def again() -> dict[str, Any]:
        nonlocal given
        if given:
            return dict(await receive())
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _is_text(body: bytes) -> None:
    """Refuse what is no text in UTF-8; JSON's reader would take UTF-16 and half characters."""
    try:
        body.decode()
    except UnicodeDecodeError:
        raise _unreadable() from None
    if b"\0" in body:
        raise _unreadable()
    if HALVES.search(body):
        _whole_characters(body)


def _unreadable() -> Refusal:
    return Refusal(400, "the body is no text in UTF-8; send one JSON object as UTF-8")


def _whole_characters(body: bytes) -> None:
    try:
        json.dumps(json.loads(body), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Refusal(
            400, "the body holds half of a character (a lone \\ud800 to \\udfff); send whole ones"
        ) from None
    except (ValueError, RecursionError):
        return  # not JSON: told where it is parsed
