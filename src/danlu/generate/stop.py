"""End an answer at a stop string, without ever showing a part of one.

Text arrives in pieces cut anywhere. What could still become a stop string is held back:

    stop "###"     pieces  "Hi #"  "# the"  "re ##"  "#!"
                   shown   "Hi "   "## the" "re "    (ends)

The string that is complete first ends the answer, however the text was cut; of two that end on
the same letter the longer one, since its beginning is not part of the answer either.
"""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Passes an answer's text on, up to the first stop string."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = sorted(stops, key=len, reverse=True)
        self._held = ""
        self.found: str | None = None
        """The stop string that was complete."""

    def push(self, text: str, early: bool = False) -> tuple[str, bool]:
        """Return what may be shown after `text` arrived, and whether a stop string was complete.

        Where it is too early to end, one that is complete is text; one that has begun may be completed later.

        >>> stops = StopStrings(["###"])
        >>> [stops.push(piece) for piece in ("Hi #", "# the", "re ##", "#!")]
        [('Hi ', False), ('## the', False), ('re ', False), ('', True)]
        """
        known = len(self._held)
        text = self._held + text
        for end in () if early else range(known + 1, len(text) + 1):
            for stop in self._stops:
                if text.endswith(stop, 0, end):
                    self._held, self.found = "", stop
                    return text[: end - len(stop)], True
        keep = self._possible(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], False

    def flush(self) -> str:
        """Return what was held back and did not become a stop string."""
        held, self._held = self._held, ""
        return held

    def _possible(self, text: str) -> int:
        """Return the length of the longest end of `text` that begins a stop string."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                return length
        return 0
