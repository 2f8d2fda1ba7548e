"""What every endpoint needs: the model, the worker, the meters, and how the server was asked to be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from starlette.requests import Request
from starlette.types import Scope

from danlu.serve.meters import Meters
from danlu.serve.served import Served
from danlu.serve.worker import Worker

T = TypeVar("T")
SHORT = 32_768
"""Bytes of a request whose text becomes tokens so soon that nobody notices."""


@dataclass(frozen=True)
class Rules:
    """How a server was asked to be."""

    keys: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    """Whose pages may call it from a browser."""
    max_body: int = 4 << 20
    """Bytes of a request."""
    body_seconds: float = 60.0
    """How long a client may take to send them."""
    quiet: bool = False


async def beside(request: Request, work: Callable[[], T]) -> T:
    """Return what some work gives; that on a long request is done beside the event loop."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) <= SHORT:
        return work()
    return await asyncio.to_thread(work)


def nobody(scope: Scope) -> None:
    """Hang up on nobody: an application without a server has no connections."""


@dataclass
class House:
    """One server's parts."""

    served: Served
    worker: Worker
    meters: Meters
    rules: Rules = field(default_factory=Rules)
    hang_up: Callable[[Scope], None] = nobody
