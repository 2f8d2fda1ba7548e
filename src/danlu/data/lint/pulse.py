"""A line of progress every few seconds."""

from __future__ import annotations

import time

from danlu.base.log import say

PATIENCE = 4.0  # seconds between two lines


class Pulse:
    """Says how far work has come, not too often."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def beat(self, template: str, *numbers: int) -> None:
        """Say a line if the last one is some seconds old; `template` is filled with the numbers."""
        if time.monotonic() - self._said > PATIENCE:
            self._said = time.monotonic()
            say(template.format(*numbers))
