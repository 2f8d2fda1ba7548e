"""The guard before every update: is this step fit to be learned from?

Not fit are a loss or a gradient that is not finite and, if asked for, spikes: a loss far above the
running median, a gradient far above its running mean. All ranks look at the same numbers, so all
come to the same answer.
"""

from __future__ import annotations

import math
import statistics
from typing import Any

from danlu.base.errors import UserError

WINDOW = 128  # steps remembered
ENOUGH = 16  # steps known before anything is called a spike
PATIENCE = 20  # bad steps in a row after which skipping helps nobody


class Guard:
    """Remembers the last good steps and judges the next."""

    def __init__(self, spike: float | None = None, spike_norm: float | None = None) -> None:
        self.spike = spike
        self.spike_norm = spike_norm
        self.losses: list[float] = []
        self.norms: list[float] = []
        self.bad = 0  # in a row

    def judge(self, loss: float, norm: float) -> str | None:
        """Return what is wrong with a step, or None.

        >>> Guard().judge(2.5, float("nan"))
        'the gradient is nan'
        """
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(norm):
            return f"the gradient is {norm}"
        if len(self.losses) >= ENOUGH:
            usual, mean = statistics.median(self.losses), statistics.fmean(self.norms)
            if self.spike and loss > self.spike * usual:
                return f"the loss is {loss:.4g}, {loss / usual:.1f} times its median of {usual:.4g}"
            if self.spike_norm and norm > self.spike_norm * mean:
                return f"the gradient's length is {norm:.4g}, {norm / mean:.1f} times its mean of {mean:.4g}"
        return None

    def accept(self, loss: float, norm: float) -> None:
        """Remember a good step."""
        self.losses = [*self.losses[1 - WINDOW :], loss]
        self.norms = [*self.norms[1 - WINDOW :], norm]
        self.bad = 0

    def refuse(self, what: str) -> None:
        """Count a skipped step; too many in a row are an error."""
        self.bad += 1
        if self.bad >= PATIENCE:
            problem = f"{self.bad} bad steps in a row; the last: {what}"
            raise UserError(problem, "a smaller optim.lr, or an earlier checkpoint")

    def state_dict(self) -> dict[str, Any]:
        """Return what is remembered, as plain numbers."""
        return {"losses": self.losses, "norms": self.norms, "bad": self.bad}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.losses, self.norms, self.bad = list(state["losses"]), list(state["norms"]), int(state["bad"])
