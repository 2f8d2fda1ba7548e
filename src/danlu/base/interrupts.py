"""Ctrl-C, remembered for a while: what it cuts short may swallow it, and fail later in a way of its own.

An import that is stopped half way is such a thing: what uses the module then meets half of it.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from types import FrameType

SOON = 10  # seconds in which a failure is taken for a consequence
LOOK = 0.5  # seconds between two looks at what may have come, while a line is waited for

_last: float | None = None


def handle(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, as Python's own handler does, and remember it."""
    global _last
    _last = time.monotonic()
    signal.default_int_handler(number, frame)


def remember() -> None:
    """Take the place of Python's own handler, unless SIGINT is ignored or somebody else's."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, handle)


def forget() -> None:
    """Give the place back, to who asks whether it is Python's own, as asyncio does."""
    if signal.getsignal(signal.SIGINT) is handle:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def lately() -> bool:
    """Say whether one came within the last seconds."""
    return _last is not None and time.monotonic() - _last < SOON


@contextlib.contextmanager
def heeded() -> Iterator[None]:
    """Wake what waits for the user now and then, so that it sees every Ctrl-C.

    One that comes after Python last looked and before the system waits would be seen with the next
    line only. For the main thread, as all handlers.
    """
    before = signal.signal(signal.SIGALRM, lambda number, frame: None)
    signal.setitimer(signal.ITIMER_REAL, LOOK, LOOK)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
