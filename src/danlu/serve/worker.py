"""The thread that owns the engine, and the event loop's side of it.

    event loop                            engine's thread
    open(jobs) -> Flight     commands     add, cancel, embed
                             -------->    step, step, step ...
    flight.push(event)       <--------    the events of a step, together

Whatever touches the engine does so in its thread, between two steps. If a step fails, the requests it was for
fail, the engine is made anew (its cache may be half written), and the server goes on. If even that fails, or
the engine cannot answer at all, the server says why and leaves, rather than to listen and never answer.

A request counts from before its prompt is made until its answer is sent, so there are never more than
`slots + queue` of them, whoever reads how slowly.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from danlu.base.errors import UserError
from danlu.base.log import say
from danlu.device import api
from danlu.generate.engine import Engine, Event
from danlu.generate.settings import Sampling
from danlu.serve.flight import Flight, Job
from danlu.serve.meters import Gauge, Meters
from danlu.serve.problems import Refusal, refused

TOGETHER = 8
"""Texts embedded between two steps."""
LAST_STEP = 10.0
"""Seconds that the step under way has when the server ends."""
PATIENCE = 5.0
"""Seconds a reader has to take in that his time is over."""


class Worker:
    """One engine at work."""

    def __init__(self, make: Callable[[], Engine], meters: Meters, waiting: int, timeout: float) -> None:
        self.make = make
        self.meters = meters
        self.timeout = timeout
        self.engine = make()
        self.slots = self.engine.cache.slots
        self.room = self.slots + waiting
        self.open_count = 0
        self.draining = False
        self._flights: dict[int, tuple[Flight, int]] = {}
        self._number = itertools.count()
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._later: deque[Callable[[], None]] = deque()
        self._vectors: set[asyncio.Future[list[list[float]]]] = set()
        """Texts that wait to be embedded."""
        self._stopped = False
        self._warm = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.failure: Exception | None = None
        """Why the thread has ended before it was asked to."""
        self.leave: Callable[[], None] = lambda: None
        """Ends the server."""
        self._usual = 1.0  # seconds a request takes, lately
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        meters.gauges += [
            Gauge("danlu_requests_running", "Answers under way.", lambda: len(self.engine.rows)),
            Gauge(
                "danlu_requests_waiting",
                "Answers whose prompt is not read.",
                lambda: len(self.engine.waiting) + len(self.engine.reading),
            ),
            Gauge("danlu_cache_use_ratio", "Share of the cache that answers under way fill.", self._use),
        ]

    # In the event loop.

    async def start(self) -> None:
        """Begin to work, and wait until the engine is warm; what comes of it is told in this event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        await self._loop.run_in_executor(None, self._warm.wait)
        if self.failure:
            raise self.failure

    @contextmanager
    def room_for(self, count: int) -> Iterator[None]:
        """Hold room for some answers meanwhile; refuse them if there is none."""
        self._admit(count)
        self.open_count += count
        try:
            yield
        finally:
            self.open_count -= count

    def open(self, jobs: Sequence[Job], whole: bool) -> Flight:
        """Let some answers be written; refuse them if there is no room."""
        self._admit(len(jobs))
        flight = Flight(jobs, whole)
        flight.indices = [next(self._number) for _ in jobs]
        for choice, index in enumerate(flight.indices):
            self._flights[index] = flight, choice
        self.open_count += len(jobs)
        self.meters.prompt.add(sum(len(job.prompt) for job in jobs))
        assert self._loop
        flight.deadline = self._loop.call_later(self.timeout, self._expire, flight)
        self._commands.put(lambda: self._add(flight))
        return flight

    def close(self, flight: Flight) -> None:
        """Forget a request: its answer is sent, or nobody wants it any more."""
        if flight.closed:
            return
        flight.closed = True
        self.open_count -= len(flight.jobs)
        if flight.deadline:
            flight.deadline.cancel()
        if not flight.left:
            took = time.perf_counter() - flight.began
            self.meters.whole.observe(took)
            self._usual += (took - self._usual) / 8
        self._forget(flight)

    async def embed(self, prompts: Sequence[Sequence[int]], adapter: str = "") -> list[list[float]]:
        """Return a vector for each text."""
        assert self._loop
        found: list[asyncio.Future[list[list[float]]]] = []
        end = self._loop.time() + self.timeout
        vectors: list[list[float]] = []
        with self.room_for(1):
            self.meters.prompt.add(sum(map(len, prompts)))
            try:
                for start in range(0, len(prompts), TOGETHER):
                    found.append(self._later_done(prompts[start : start + TOGETHER], adapter))
                for group in found:
                    vectors += await asyncio.wait_for(group, max(0.0, end - self._loop.time()))
                return vectors
            except asyncio.TimeoutError:
                raise self._too_late() from None
            finally:
                for group in found:
                    group.cancel()

    def stop(self) -> None:
        """Let requests still under way fail, and the thread come to its end."""
        self.draining = True
        self._fail_all(Refusal(503, "the server is shutting down; ask again in a moment"))
        self._commands.put(self._halt)

    async def stopped(self) -> None:
        """Wait for the end of the thread, a step at most."""
        self.stop()
        assert self._loop
        await self._loop.run_in_executor(None, self._thread.join, LAST_STEP)

    def _admit(self, count: int) -> None:
        if self.draining:
            raise Refusal(
                503, "the server is shutting down; ask again in a moment", headers={"Retry-After": "5"}
            )
        if count > self.room:
            raise Refusal(
                400, f"{count} answers at once; this server takes {self.room}: ask for fewer", param="n"
            )
        if self.open_count + count > self.room:
            wait = min(60, max(1, round(self._usual * self.open_count / self.slots / 2)))
            raise Refusal(
                429,
                f"all {self.room} places are taken; try again in about {wait} s",
                code="queue_full",
                headers={"Retry-After": str(wait)},
            )

    def _expire(self, flight: Flight) -> None:
        flight.fail(self._too_late())
        self._forget(flight)
        if flight.cut and self._loop:  # a reader who takes nothing does not hear that it is over
            self._loop.call_later(PATIENCE, flight.cut)

    def _too_late(self) -> Refusal:
        return Refusal(504, f"not done after {self.timeout:g} s; ask for fewer tokens, or raise --timeout")

    def _forget(self, flight: Flight) -> None:
        alive = [index for index in flight.indices if self._flights.pop(index, None)]
        if alive:
            self._commands.put(lambda: self._cancel(alive))

    def _deliver(self, events: list[Event]) -> None:
        """Hand the events of a step to those who wait for them."""
        now = time.perf_counter()
        meters = self.meters
        for event in events:
            known = self._flights.get(event.index)
            if known is None:
                continue
            flight, choice = known
            if flight.last[choice]:
                meters.between.observe(now - flight.last[choice])
            else:
                meters.first.observe(now - flight.began)
                meters.reused.add(event.reused)
                flight.begun(choice, event.reused)
            flight.last[choice] = now
            if event.finish:
                del self._flights[event.index]
            flight.push(choice, event)
        meters.output.add(len(events))

    def _broken(self, problem: Refusal, indices: Sequence[int]) -> None:
        for index in indices:
            if index in self._flights:
                self._flights.pop(index)[0].fail(problem)

    def _dead(self, problem: Refusal) -> None:
        self._fail_all(problem)
        self.leave()

    def _fail_all(self, problem: Refusal) -> None:
        for flight, _ in list(self._flights.values()):
            flight.fail(problem)
        for future in list(self._vectors):
            _settle(future, None, problem)

    def _use(self) -> float:
        engine = self.engine
        return sum(len(request.tokens) for request in list(engine.rows)) / (self.slots * engine.max_len)

    # In the engine's thread.

    def _run(self) -> None:
        try:
            self._warm_up()
            self._warm.set()
            self._work()
        except Exception as error:  # nothing is answered any more, so the server must end
            self.failure = error
            self._stopped = True
            self._tell(self._dead, _told(error))
        finally:
            self._warm.set()

    def _work(self) -> None:
        while not self._stopped:
            self._obey()
            if self.engine.busy and not self._stopped:
                self._step()
            if self._later and not self._stopped:
                self._later.popleft()()

    def _warm_up(self) -> None:
        """Answer once before anybody asks: what torch does only the first time takes seconds."""
        self.engine.add(-1, [self.engine.tokenizer.eos_id] * 2, Sampling(max_tokens=2, ignore_eos=True))
        while self.engine.busy:
            self.engine.step()

    def _obey(self) -> None:
        """Do what was asked since; wait for something to do if there is nothing."""
        if not self.engine.busy and not self._later:
            self._commands.get()()
        while not self._commands.empty():
            self._commands.get()()

    def _step(self) -> None:
        try:
            events = self.engine.step()
        except Exception as error:  # whatever it is, the other requests must go on
            self._mend(error)
            return
        if events:
            self._tell(self._deliver, events)

    def _mend(self, error: Exception) -> None:
        """Let the requests of a step that failed fail, and begin with a new engine."""
        problem = _told(error)
        gone = [request.index for request in (*self.engine.rows, *self.engine.reading, *self.engine.waiting)]
        traceback.clear_frames(error.__traceback__)  # they hold the tensors there was no memory for
        self.engine.rows, self.engine.reading = [], []
        self.engine.waiting.clear()
        del self.engine.cache
        gc.collect()
        api.current().empty_cache()
        self.engine = self.make()
        self._tell(self._broken, problem, gone)

    def _add(self, flight: Flight) -> None:
        for index, job in zip(flight.indices, flight.jobs):
            if flight.closed:
                return
            try:
                constraint = job.begin() if job.begin else None
                self.engine.add(index, job.prompt, job.sampling, constraint=constraint, **job.options)
            except Exception as error:  # told to who asked; the thread lives on
                self._cancel(flight.indices)
                self._tell(self._broken, _told(error), flight.indices)
                return

    def _cancel(self, indices: Sequence[int]) -> None:
        for index in indices:
            self.engine.cancel(index)

    def _later_done(
        self, prompts: Sequence[Sequence[int]], adapter: str
    ) -> asyncio.Future[list[list[float]]]:
        assert self._loop
        future: asyncio.Future[list[list[float]]] = self._loop.create_future()
        self._vectors.add(future)
        future.add_done_callback(self._vectors.discard)

        def work() -> None:
            if future.cancelled():
                return
            try:
                vectors = self.engine.embed(prompts, adapter).tolist()
            except Exception as error:  # told to who asked
                self._tell(_settle, future, None, _told(error))
            else:
                self._tell(_settle, future, vectors, None)

        self._commands.put(lambda: self._later.append(work))
        return future

    def _halt(self) -> None:
        self._stopped = True

    def _tell(self, what: Callable[..., None], *words: object) -> None:
        assert self._loop
        try:
            self._loop.call_soon_threadsafe(what, *words)
        except RuntimeError:  # the loop is closed: there is nobody to tell
            self._stopped = True


def _settle(
    future: asyncio.Future[list[list[float]]], vectors: list[list[float]] | None, problem: Refusal | None
) -> None:
    if future.done():
        return
    if problem:
        future.set_exception(problem)
    else:
        future.set_result(vectors or [])


def _told(error: Exception) -> Refusal:
    """Return how a failure is told: what the user can mend in full, of others the details go to the log."""
    if isinstance(error, UserError):
        return refused(error)
    said = str(error).lower()
    if isinstance(error, MemoryError) or "out of memory" in said or "can't allocate" in said:
        say(f"the engine ran out of memory: {error}")
        return Refusal(503, "the server is out of memory; send a shorter prompt, or ask again later")
    say("the engine failed: " + "".join(traceback.format_exception(error)).rstrip())
    return Refusal(500, "the engine failed; the server's log tells why")
