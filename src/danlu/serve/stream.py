"""Server-sent events, as fast as a reader takes them.

    data: {"id": "chatcmpl-...", "choices": [...]}

    data: [DONE]

What happens before the first token is told by the status of the answer; after it, by an event that holds an
error, and the stream ends. A reader who leaves frees his place at once; one who takes nothing until his time
is over is hung up on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from danlu.serve.flight import Flight, Job, Told
from danlu.serve.house import House
from danlu.serve.problems import Refusal
from danlu.serve.voice import dumped
from danlu.serve.worker import Worker

T = TypeVar("T")
GONE = 499
"""The status of a request whose client did not wait; only the log and the meters see it."""
DONE = b"data: [DONE]\n\n"


class Watch:
    """Looks out for the client of one request; when he leaves, so does the request."""

    def __init__(self, request: Request, worker: Worker, flight: Flight) -> None:
        self.worker = worker
        self.flight = flight
        self._task = asyncio.ensure_future(self._look(request.receive))

    async def _look(self, receive: Receive) -> None:
        await _left(receive)
        if not self.flight.closed:
            if self.flight.left:
                self.worker.meters.cancelled.add()
            self.flight.fail(_gone())
            self.worker.close(self.flight)

    def end(self) -> None:
        """Look no more; the request is over."""
        self._task.cancel()
        self.worker.close(self.flight)


async def while_here(request: Request, worker: Worker, work: Coroutine[Any, Any, T]) -> T:
    """Return what some work gives; it ends when the client leaves."""
    left = asyncio.ensure_future(_left(request.receive))
    done = asyncio.ensure_future(work)
    try:
        await asyncio.wait((left, done), return_when=asyncio.FIRST_COMPLETED)
        if done.done():
            return done.result()
        worker.meters.cancelled.add()
        raise _gone()
    finally:
        left.cancel()
        done.cancel()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _gone() -> Refusal:
    return Refusal(GONE, "the client has left")


class EventStream(Response):
    """An answer that is sent while it is written."""

    media_type = "text/event-stream"

    def __init__(
        self, pieces: AsyncGenerator[list[str], None], watch: Watch, hang_up: Callable[[Scope], None]
    ) -> None:
        super().__init__(None, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self.pieces = pieces
        self.watch = watch
        self.hang_up = hang_up

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send every piece, then the end."""
        task = asyncio.current_task()
        assert task
        self.watch.flight.cut = task.cancel
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._send_all(send)
        except asyncio.CancelledError:
            if not self.watch.flight.failed:
                raise
            self.hang_up(scope)
        finally:
            self.watch.flight.cut = None
            self.watch.end()

    async def _send_all(self, send: Send) -> None:
        try:
            async for pieces in self.pieces:
                await send(_body("".join(f"data: {piece}\n\n" for piece in pieces).encode()))
        except Refusal as problem:
            if problem.status == GONE:
                return
            await send(_body(f"data: {dumped(problem.body)}\n\n".encode()))
        finally:
            await self.pieces.aclose()
        await send({"type": "http.response.body", "body": DONE, "more_body": False})


class Talk(Protocol):
    """The answers to one request, on their way into JSON."""

    def whole(self, told: Told) -> dict[str, Any]:
        """Return the complete answer."""

    def stream(self, told: Told) -> AsyncGenerator[list[str], None]:
        """Yield the chunks of the answer."""


async def written(
    house: House, request: Request, jobs: Sequence[Job], stream: bool | None, talk: Callable[[Flight], Talk]
) -> Response:
    """Let answers be written; return them whole, or as they come."""
    flight = house.worker.open(jobs, whole=not stream)
    watch = Watch(request, house.worker, flight)
    try:
        answers = talk(flight)
        first = await flight.take()
        if stream:
            return EventStream(answers.stream(first), watch, house.hang_up)
        whole = JSONResponse(answers.whole(first))
    except BaseException:
        watch.end()
        raise
    watch.end()
    return whole


def _body(data: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": True}
