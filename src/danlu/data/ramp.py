"""How many rows a step has: as many as asked, or more and more until then.

    rows   ____/-------    `first` at step 0, `full` from step `steps` on
           0  steps

A function of the step and nothing else, so a run goes on anywhere with the right number.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ramp:
    """Rows of each step.

    >>> ramp = Ramp(full=8, first=2, steps=3)
    >>> [ramp.rows(step) for step in range(5)], ramp.steps_for(15), ramp.steps_for(28)
    ([2, 4, 6, 8, 8], 4, 5)
    """

    full: int
    first: int = 0
    steps: int = 0
    """How long it grows; 0: it does not."""

    def rows(self, step: int) -> int:
        """Return how many rows a step has."""
        if step >= self.steps:
            return self.full
        return self.first + (self.full - self.first) * step // self.steps

    def steps_for(self, rows: int) -> int:
        """Return how many steps it takes to use so many rows; the last may want some."""
        step = 0
        while step < self.steps and rows > 0:
            rows -= self.rows(step)
            step += 1
        return step + max(0, -(-rows // self.full))
