"""One request on its way: what the engine has told of its answers and nobody has sent yet.

The engine's thread never waits for a reader. What a slow one has not taken is kept here, at most his own
answer, and he gets several tokens in one piece; one who wants the answer whole is woken once, at its end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from danlu.generate.engine import Constraint, Event
from danlu.generate.settings import Sampling
from danlu.serve.problems import Refusal

Told = list[tuple[int, Event]]
"""Events, each with the number of its choice."""


@dataclass
class Job:
    """One answer to be written."""

    prompt: Sequence[int]
    sampling: Sampling
    options: dict[str, Any] = field(default_factory=dict)
    """What else `Engine.add` is told."""
    begin: Callable[[], Constraint] | None = None
    """Begins what the answer is held to; called in the engine's thread, which grammars belong to."""


class Flight:
    """The answers to one request."""

    def __init__(self, jobs: Sequence[Job], whole: bool) -> None:
        self.jobs = jobs
        self.whole = whole
        self.began = time.perf_counter()
        self.indices: list[int] = []
        self.left = len(jobs)
        self.reused = 0
        """Tokens of its prompts that were read before it came; a prompt of several answers counts once."""
        self.closed = False
        self.deadline: asyncio.TimerHandle | None = None
        self.cut: Callable[[], object] | None = None
        """Hangs up on a reader."""
        self.last = [0.0] * len(jobs)
        """When each answer's newest token came."""
        self._held: Told = []
        self._problem: Refusal | None = None
        self._waiter: asyncio.Future[None] | None = None

    def push(self, choice: int, event: Event) -> None:
        """Keep an event until it is taken."""
        self._held.append((choice, event))
        if event.finish:
            self.left -= 1
        if not self.whole or not self.left:
            self._wake()

    def begun(self, choice: int, reused: int) -> None:
        """Take note that an answer has begun, and how much of its prompt had been read already."""
        if not choice or self.jobs[choice].prompt is not self.jobs[choice - 1].prompt:
            self.reused += reused

    @property
    def failed(self) -> bool:
        """Say whether the request has ended by an error."""
        return self._problem is not None

    def fail(self, problem: Refusal) -> None:
        """End the request by an error, told after what came before it."""
        self._problem = self._problem or problem
        self._wake()

    async def take(self) -> Told:
        """Return what came since, at least one event; nothing once all answers are complete."""
        while not self._ready():
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._problem and (self.whole or not self._held):
            raise self._problem
        held, self._held = self._held, []
        return held

    def _ready(self) -> bool:
        return bool(self._problem or not self.left or (self._held and not self.whole))

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)
