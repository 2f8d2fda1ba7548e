"""The learning rate as a function of the optimiser step, and of nothing else.

`t` counts the updates already made, out of `T`:

    minimind   lr (0.1 + 0.45 (1 + cos(pi t / T)))
    constant   _/-------   lr after the warm-up
    linear     _/`-._      down to the floor by `decay_until`
    cosine     _/`-.__     the same along half a cosine
    wsd        _/----\\     warm-up, stable, then down to the floor in the last `decay`

A closed form: its only state is `t`, so a run continues anywhere, on any number of ranks, however the
batches are cut.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from danlu.train.optim import Optim


def share(cfg: Optim, t: int, total: int) -> float:
    """Return the factor on the learning rate for the update after `t` updates.

    >>> from danlu.train.optim import Optim
    >>> [round(share(Optim(schedule="minimind"), t, 100), 6) for t in (0, 50, 100)]
    [1.0, 0.55, 0.1]
    >>> line = Optim(schedule="linear", warmup=9, min_lr_ratio=0.2)
    >>> [round(share(line, t, 109), 6) for t in (0, 9, 59, 109)]
    [0.1, 1.0, 0.6, 0.2]
    >>> [round(share(Optim(schedule="wsd", decay=0.2), t, 100), 6) for t in (0, 80, 90, 100)]
    [1.0, 1.0, 0.55, 0.1]
    """
    if cfg.schedule == "minimind":
        return 0.1 + 0.45 * (1 + math.cos(math.pi * min(t / max(total, 1), 1)))
    warmup = updates(cfg.warmup, total)
    if t < warmup:
        # (t + 1) of (warmup + 1): the first update already moves, the first after the warm-up is whole.
        return cfg.warmup_from + (1 - cfg.warmup_from) * (t + 1) / (warmup + 1)
    start, end = float(warmup), cfg.decay_until * total
    if cfg.schedule == "wsd":
        start, end = max(start, total - updates(cfg.decay, total)), total
    gone = min(max((t - start) / (end - start), 0.0), 1.0) if end > start else float(t >= end)
    falls = {"constant": 0.0, "linear": gone, "cosine": (1 - math.cos(math.pi * gone)) / 2, "wsd": gone}
    return cfg.min_lr_ratio + (1 - cfg.min_lr_ratio) * (1 - falls[cfg.schedule])


def updates(length: int | float, total: int) -> int:
    """Return a length given in updates, or as a share of the run, in updates.

    >>> updates(100, 1000), updates(0.03, 1000)
    (100, 30)
    """
    return length if isinstance(length, int) else round(length * total)


class Schedule:
    """Sets the learning rate of every group of an optimiser; a group's own `lr_factor` multiplies it."""

    def __init__(self, optimizer: torch.optim.Optimizer, cfg: Optim, total_steps: int) -> None:
        self.optimizer = optimizer
        self.cfg = cfg
        self.total_steps = total_steps
        self.done = 0
        self._set()

    @property
    def lr(self) -> float:
        """The learning rate of the next update."""
        return self.cfg.lr * share(self.cfg, self.done, self.total_steps)

    def step(self) -> None:
        """Go on to the next update."""
        self.done += 1
        self._set()

    def _set(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * group.get("lr_factor", 1.0)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of updates made."""
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after that many updates."""
        self.done = int(state["done"])
        self._set()
