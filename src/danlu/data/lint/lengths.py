"""How long rows are: a histogram, sums, rows far from the others, characters per token by language."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from danlu.data.lint.measure import Measured

CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
LATIN = re.compile(r"[A-Za-z]")
FAR = 4.0  # powers of two from the median at least, for a row to be told
SPREADS = 5.0  # and as many usual deviations


def language(text: str) -> str:
    """Return which of the languages we count a text is in, or ''.

    >>> language("今天 good"), language("a day"), language("1 + 1")
    ('Chinese', 'English', '')
    """
    chinese = len(CHINESE.findall(text))
    letters = len(LATIN.findall(text))
    if chinese and chinese * 2 >= letters:  # a Chinese character says as much as several letters
        return "Chinese"
    return "English" if letters > 10 * chinese else ""


class Lengths:
    """Lengths of rows in tokens, and the characters they stand for."""

    def __init__(self) -> None:
        self._tokens: list[int] = []
        self._done: list[np.ndarray] = []
        self.learned: int | None = None
        self.cut = 0
        """Rows that do not fit into one sample."""
        self.lost = 0
        """Learned tokens that do not fit."""
        self.characters: dict[str, int] = {}
        self.tokens: dict[str, int] = {}
        """Of all rows ("") and by language, with what a template adds."""

    def add(self, text: str, one: Measured) -> None:
        """Take a row in."""
        self._tokens.append(one.tokens)
        if len(self._tokens) >= 1 << 16:
            self._settle()
        if one.learned is not None:
            self.learned = (self.learned or 0) + one.learned
        self.lost += one.lost
        self.cut += one.cut
        for name in {"", language(text)} if one.tokens else ():
            self.characters[name] = self.characters.get(name, 0) + len(text)
            self.tokens[name] = self.tokens.get(name, 0) + one.tokens + one.others

    def _settle(self) -> None:
        self._done.append(np.array(self._tokens, np.int32))
        self._tokens = []

    def all(self) -> np.ndarray:
        """Return the length of every row, in the order of adding."""
        self._settle()
        self._done = [np.concatenate(self._done)]
        return self._done[0]

    def histogram(self) -> list[tuple[int, int, int]]:
        """Return (first, last, rows) of buckets that end at powers of two, none missing between.

        >>> lengths = Lengths()
        >>> for tokens in (3, 4, 5, 20): lengths.add("", Measured(tokens, None, 0))
        >>> lengths.histogram()
        [(3, 4, 2), (5, 8, 1), (9, 16, 0), (17, 32, 1)]
        """
        lengths = self.all()
        lengths = lengths[lengths > 0]
        if not len(lengths):
            return []
        bucket = np.ceil(np.log2(lengths)).astype(int)
        counts = np.bincount(bucket)
        return [
            ((1 << (b - 1)) + 1 if b else 1, 1 << b, int(counts[b]))
            for b in range(bucket.min(), bucket.max() + 1)
        ]

    def per_token(self) -> dict[str, float]:
        """Return characters per token, of all ("") and of the languages there are."""
        return {name: self.characters[name] / tokens for name, tokens in self.tokens.items() if tokens}

    def outliers(self) -> Iterator[tuple[int, int, int]]:
        """Yield number, length and median of rows far from the others."""
        lengths = self.all()
        there = np.flatnonzero(lengths)
        if len(there) < 8:
            return
        power = np.log2(lengths[there])
        middle = float(np.median(power))
        spread = 1.4826 * float(np.median(np.abs(power - middle)))
        far = np.abs(power - middle) > max(FAR, SPREADS * spread)
        for number in there[far].tolist():
            yield number, int(lengths[number]), round(2**middle)

    def sums(self) -> dict[str, Any]:
        """Return the totals."""
        lengths = self.all()
        there = lengths[lengths > 0]
        return {
            "total": self.tokens.get("", 0),
            "learned": self.learned,
            "shortest": int(there.min()) if len(there) else 0,
            "median": int(np.median(there)) if len(there) else 0,
            "longest": int(there.max()) if len(there) else 0,
        }
