"""Serving at a port, and leaving well.

SIGTERM or Ctrl-C lets answers under way come to their end while new requests get a 503; then, or after
the grace, it leaves. A second signal ends it now.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import types
from collections.abc import Callable, Sequence

import h11
import uvicorn
from starlette.types import ASGIApp, Scope
from uvicorn.protocols.http.h11_impl import H11Protocol

from danlu.base.errors import UserError
from danlu.serve import address
from danlu.serve.worker import Worker

LOOK = 0.05
"""Seconds between two looks at whether all answers are sent."""
TURN = 0.0005
"""Seconds after which the engine's thread makes way for the event loop: its tokens are waited for."""


HEAD_SECONDS = 60.0
"""How long a client may take to send the head of a request."""


class Connection(H11Protocol):
    """Uvicorn's, which by itself waits for the head of a request for ever."""

    _hurry: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        super().data_received(data)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        super().connection_lost(exc)
        self._rest()

    def _wait(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._rest()
        elif self._hurry is None:
            self._hurry = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _rest(self) -> None:
        if self._hurry:
            self._hurry.cancel()
            self._hurry = None


class Server(uvicorn.Server):
    """Uvicorn, with a door that closes in two steps."""

    def __init__(self, app: ASGIApp, worker: Worker, grace: float, ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=Connection,
                ws="none",
                lifespan="on",
                log_config=None,
                log_level="critical",
                access_log=False,
                server_header=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=2,
            )
        )
        self.worker = worker
        worker.leave = self.leave
        self.grace = grace
        self.ready = ready
        self._home: asyncio.AbstractEventLoop | None = None
        self._leaving: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the door, and say so."""
        await super().startup(sockets)
        self._home = asyncio.get_running_loop()
        if self.started:
            self.ready()

    def handle_exit(self, sig: int, frame: types.FrameType | None) -> None:
        """Take a signal: the first one asks to leave, the second one insists."""
        self.leave()

    def leave(self) -> None:
        """Finish what is under way, then end; asked again, end now. Any thread may ask."""
        if self.worker.draining or self._home is None:
            self.should_exit = self.force_exit = True
        else:
            self.worker.draining = True
            self._home.call_soon_threadsafe(self._begin_to_leave)

    def _begin_to_leave(self) -> None:
        self._leaving = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        end = asyncio.get_running_loop().time() + self.grace
        while self.worker.open_count and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(LOOK)
        self.worker.stop()
        self.should_exit = True

    def hang_up(self, scope: Scope) -> None:
        """Close the connection of a request without waiting for its reader."""
        for connection in list(self.server_state.connections):
            if getattr(connection, "scope", None) is scope and connection.transport:
                connection.transport.abort()


def place(sock: socket.socket) -> str:
    """Return the URL of a bound socket; of all addresses, the one that works here."""
    return address.url(*sock.getsockname()[:2])


def run(server: Server, sock: socket.socket) -> None:
    """Serve until asked to leave."""
    sys.setswitchinterval(TURN)
    server.run(sockets=[sock])


def names(pairs: Sequence[str]) -> dict[str, str]:
    """Return the adapters that NAME=DIR words name."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, folder = pair.partition("=")
        if not (name and equals and folder):
            raise UserError(f"--adapter: '{pair}' names nothing", "--adapter NAME=DIR")
        if name in found:
            raise UserError(f"--adapter: '{name}' twice", "give each another name")
        found[name] = folder
    return found
