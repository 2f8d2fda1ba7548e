"""One piece of work done for many items by several processes, the results in order.

    for item, result in in_order(work, items, processes=8): ...

A process is a fresh Python that is given `work` once and then one item after another through a pipe,
and answers through another. So it knows nothing of the threads, locks and devices of the process that
asks, imports neither its main module nor torch, and ends by itself when the pipe does, however the
asking process ended. At most two items a process are under way: memory does not grow with the input.

A thread stands for each process; it writes, waits and reads, which takes no interpreter's time.
"""

from __future__ import annotations

import collections
import os
import pickle
import queue
import subprocess
import sys
import traceback
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from danlu.base.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")
START = "import sys; sys.path[:] = sys.argv[1:]; from danlu.data.workers import serve; serve()"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
ONE_CORE = dict.fromkeys(THREADS, "1") | {"TOKENIZERS_PARALLELISM": "false"}


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], processes: int
) -> Generator[tuple[Item, Result], None, None]:
    """Yield every item with work(item); with one process or none it is done here."""
    if processes < 2:
        for item in items:
            yield item, work(item)
        return
    idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    threads = ThreadPoolExecutor(processes)
    workers = [_Worker(work) for _ in range(processes)]
    for worker in workers:
        idle.put(worker)

    def done(item: Item) -> Result:
        worker = idle.get()
        try:
            return worker.ask(item)
        finally:
            idle.put(worker)

    coming: collections.deque[tuple[Item, Future[Result]]] = collections.deque()
    try:
        for item in items:
            coming.append((item, threads.submit(done, item)))
            if len(coming) == 2 * processes:
                yield _first(coming)
        while coming:
            yield _first(coming)
    finally:
        for worker in workers:
            worker.stop()
        threads.shutdown(cancel_futures=True)


def _first(coming: collections.deque[tuple[Item, Future[Result]]]) -> tuple[Item, Result]:
    item, future = coming.popleft()
    return item, future.result()


class _Worker:
    """A process that does the work for one item at a time."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self._work: Callable[[Any], Any] | None = work
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **ONE_CORE},
            start_new_session=True,  # Ctrl-C is for the process that asks
        )

    def ask(self, item: Any) -> Any:
        """Return the work for an item, or raise what it raised."""
        pipe = self._process.stdin
        assert pipe and self._process.stdout
        try:
            if self._work is not None:
                pickle.dump(self._work, pipe, pickle.HIGHEST_PROTOCOL)
                self._work = None
            pickle.dump(item, pipe, pickle.HIGHEST_PROTOCOL)
            pipe.flush()
            well, answer = pickle.load(self._process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            raise _died(self._process.wait()) from None
        if not well:
            raise answer
        return answer

    def stop(self) -> None:
        """End the process at once; it holds nothing that could be lost."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                _close(pipe)


def _close(pipe: Any) -> None:
    try:
        pipe.close()
    except BrokenPipeError:
        return  # what was buffered for a process that is gone


def _died(code: int) -> UserError:
    how = f"was killed (signal {-code})" if code < 0 else f"ended with code {code}"
    why = ", most likely because memory ran out" if code == -9 else ""
    return UserError(
        f"a process that encodes {how}{why}",
        "fewer workers, or more memory; then the same command again goes on where this one stopped",
    )


def serve() -> None:
    """Be such a process: read the work, then items, until there are no more."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing else may stand among the answers
    questions = sys.stdin.buffer
    try:
        work = pickle.load(questions)
        while True:
            item = pickle.load(questions)
            pickle.dump(_answer(work, item), answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()
    except (EOFError, BrokenPipeError, pickle.UnpicklingError):
        os._exit(0)  # whoever asked is done, or gone


def _answer(work: Callable[[Any], Any], item: Any) -> tuple[bool, Any]:
    try:
        return True, work(item)
    except UserError as error:
        return False, error
    except Exception:  # told where it can be seen
        return False, RuntimeError(f"in a process that encodes:\n{traceback.format_exc()}")


def cores() -> int:
    """Return how many cores this process may use. Of several ranks only one works, the others wait."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(Path("/sys/fs/cgroup"))
    return there if quota is None else min(there, max(1, round(quota)))


def _quota(root: Path) -> float | None:
    """Return how many cores' time the container may spend, or None where nothing limits it."""
    try:
        if (root / "cpu.max").is_file():
            allowed, period = (root / "cpu.max").read_text().split()
        else:
            allowed, period = ((root / "cpu" / f"cpu.cfs_{n}_us").read_text() for n in ("quota", "period"))
    except (OSError, ValueError):
        return None
    return None if allowed.strip() in ("max", "-1") else int(allowed) / int(period)
