"""Work done ahead of its use, in a thread, a few items at most.

The items carry their own state, so whoever consumes them knows exactly where it stands, however far
ahead the thread is. An error in the thread is raised where its item would have come.

A thread that still works when Python ends would be torn out of the middle of torch, which aborts the
process; so all are stopped, and waited for, before that.
"""

from __future__ import annotations

import atexit
import queue
import threading
import weakref
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
_working: weakref.WeakKeyDictionary[threading.Thread, threading.Event] = weakref.WeakKeyDictionary()
"""Threads, and what tells each to stop."""


class Ahead(Generic[T]):
    """An iterator whose next items are already being made."""

    def __init__(self, items: Iterator[T], depth: int) -> None:
        self._queue: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(depth)
        self._stop = threading.Event()
        thread = threading.Thread(
            target=_work, args=(items, self._queue, self._stop), daemon=True, name="batches"
        )
        _working[thread] = self._stop
        thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        item, error = self._queue.get()
        if error is not None:
            self._queue.put((None, error))  # and again, should anybody ask again
            raise error
        assert item is not None
        return item

    def close(self) -> None:
        """Let the thread end; it looks every tenth of a second."""
        self._stop.set()

    __del__ = close


def _work(
    items: Iterator[T], out: queue.Queue[tuple[T | None, BaseException | None]], stop: threading.Event
) -> None:
    """Put items, then the error that ended them (StopIteration is one too). Holds no reference to Ahead."""
    result: tuple[T | None, BaseException | None] = (None, None)
    while result[1] is None and not stop.is_set():
        try:
            result = (next(items), None)
        except BaseException as error:
            result = (None, error)
        while not stop.is_set():
            try:
                out.put(result, timeout=0.1)
                break
            except queue.Full:
                continue


@atexit.register
def _end() -> None:
    threads = list(_working.items())
    for _, stop in threads:
        stop.set()
    for thread, _ in threads:
        thread.join()
