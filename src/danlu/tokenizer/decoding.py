"""Show tokens as they come, holding back a character until all its bytes are there.

A Chinese character may be split over two or three tokens, an emoji over four. Decoding them one
by one would print replacement signs; decoding everything again at each token would be quadratic.
So only what is not yet shown is decoded, after what was shown last as context: some tokenizers write a
word's leading space only when another word precedes it.
"""

from __future__ import annotations

from collections.abc import Callable

HALF = "\ufffd"  # how a decoder writes bytes that are not, or not yet, a character


class StreamDecoder:
    """Turns ids into text piece by piece; the pieces add up to the decoding of all ids."""

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._context: list[int] = []
        self._new: list[int] = []

    def push(self, token: int) -> str:
        """Return the text that is certain now that `token` has come; often "", never half a character."""
        self._new.append(token)
        text = self._decode(self._context + self._new)
        return "" if text.endswith(HALF) else self._show(text)

    def flush(self) -> str:
        """Return what is still held back, broken characters and all, and begin anew."""
        new = self._show(self._decode(self._context + self._new))
        self._context = []
        return new

    def _show(self, text: str) -> str:
        """Return the end of `text` that the new tokens made; they are the context of the next."""
        shown = len(self._decode(self._context))
        self._context, self._new = self._new, []
        return text[shown:]
