"""Show tokens as they come, holding back a character until all its bytes are there.

A Chinese character may be split over two or three tokens, an emoji over four. Decoding them one
by one would print replacement signs; decoding everything again at each token would be quadratic.
So only what is not yet shown is decoded, with the last shown token before it as context (some
tokenizers write a word's leading space only when another word precedes it).
"""

from __future__ import annotations

from collections.abc import Callable

HALF = "\ufffd"  # how a decoder writes bytes that are not, or not yet, a character


class StreamDecoder:
    """Turns ids into text piece by piece; the pieces add up to the decoding of all ids."""

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._shown = 0  # characters of decode(self._ids) already given out

    def push(self, token: int) -> str:
        """Return the text that is certain now that `token` has come; often "", never half a character."""
        self._ids.append(token)
        text = self._decode(self._ids)
        if text.endswith(HALF):
            return ""
        new = text[self._shown :]
        self._ids = self._ids[-1:]
        self._shown = len(self._decode(self._ids))
        return new

    def flush(self) -> str:
        """Return what is still held back, broken characters and all, and begin anew."""
        new = self._decode(self._ids)[self._shown :]
        self._ids, self._shown = [], 0
        return new
