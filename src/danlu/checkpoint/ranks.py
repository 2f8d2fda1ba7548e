"""The processes that save together, and how they come to one mind.

They talk over a gloo group of their own, so that a save in the background never mixes with the
collectives of training, and they talk about host memory only. The group serves one conversation at
a time: the store waits for the save in flight before it begins another.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any, TypeVar

import torch.distributed as dist

from danlu.base.errors import UserError

T = TypeVar("T")

# One rank may wait this long for the slowest disk among the others.
PATIENCE = datetime.timedelta(hours=2)


class Ranks:
    """All ranks of this training, or just this process where there is no other."""

    def __init__(self) -> None:
        several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        self.rank: int = dist.get_rank() if several else 0
        self.count: int = dist.get_world_size() if several else 1
        self.group: Any = dist.new_group(backend="gloo", timeout=PATIENCE) if several else None

    def gather(self, mine: T) -> list[T]:
        """Return what every rank brought, in the order of ranks, to all of them."""
        if self.group is None:
            return [mine]
        everyone: list[Any] = [None] * self.count
        dist.all_gather_object(everyone, mine, group=self.group)
        return everyone

    def together(self, work: Callable[[], T]) -> list[T]:
        """Do `work` on every rank and return all results; where one fails, all raise."""
        result: T | None = None
        error: Exception | None = None
        try:
            result = work()
        except Exception as caught:  # noqa: BLE001  told to the others first, then raised
            error = caught
        told = (error.problem, error.hint) if isinstance(error, UserError) else error and repr(error)
        answers = self.gather((result, told))
        if error is not None:
            raise error
        for rank, (_, told) in enumerate(answers):
            if isinstance(told, tuple):
                raise UserError(*told)
            if told is not None:
                raise RuntimeError(f"rank {rank} failed: {told}")
        return [answer for answer, _ in answers]  # type: ignore[misc]

    def first(self, work: Callable[[], T]) -> T:
        """Do `work` on rank 0 only and return its result everywhere; where it fails, all raise."""
        answers = self.together(lambda: work() if self.rank == 0 else None)
        return answers[0]  # type: ignore[return-value]
