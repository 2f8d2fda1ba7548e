"""Where text can be cut so that each piece has the ids it has in the whole.

    The price, 12元,炼丹炉火  ->  The | price |, 12 | 元 |,炼 | 丹炉 | 火

For the patterns of memo.py, which cut text into what BPE then merges, two places are known:

1.  After letters where a sign or digit follows, and after digits where a letter or sign follows: no part
    of such a pattern goes on there, none looks back.
2.  Before a Chinese character if no token holds its beginning and the end of the character before it. Merging
    makes nothing but tokens, so it never joins the two, and both sides come out as they would alone.

By the second, a clause that was never seen is put together from pieces that were. Only letters, digits and
signs that no Unicode version disagrees about are cut between. A token may hold parts of characters: one
that ends within a character stands for all that begin so.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import numpy as np

CHINESE = range(0x4E00, 0x9FA6)
WIDE = "，。！？、；：“”（）《》…"  # signs of three bytes
LETTERS = [*map(chr, CHINESE), *WIDE]  # what stands before a place of the second kind
COUNT = len(LETTERS)
PLACES = 1 << 22  # two pairs that share a place cost a cut, never an id
OTHER, LETTER, DIGIT, SIGN = range(4)


@functools.cache
def _kinds() -> np.ndarray:
    """Return what each character of the first plane is."""
    kind = np.zeros(1 << 16, np.uint8)
    for code in range(128):
        kind[code] = LETTER if chr(code).isalpha() else DIGIT if chr(code).isdigit() else SIGN
    kind[CHINESE] = LETTER
    kind[list(map(ord, WIDE))] = SIGN
    return kind


@functools.cache
def _numbers() -> np.ndarray:
    """Return the number of each of LETTERS by its code, and -1 for all others."""
    number = np.full(1 << 16, -1, np.int32)
    number[list(map(ord, LETTERS))] = range(COUNT)
    return number


@functools.cache
def _table() -> np.ndarray:
    """Return the bytes of each of LETTERS."""
    return np.frombuffer("".join(LETTERS).encode(), np.uint8).reshape(-1, 3)


@functools.lru_cache(1 << 14)
def _ending(data: bytes) -> list[int]:
    """Return the numbers of the LETTERS that end with these bytes."""
    return _whole(data) or np.flatnonzero((_table()[:, 3 - len(data) :] == list(data)).all(1)).tolist()


@functools.lru_cache(1 << 14)
def _beginning(data: bytes) -> list[int]:
    return _whole(data) or np.flatnonzero((_table()[:, : len(data)] == list(data)).all(1)).tolist()


def _whole(data: bytes) -> list[int]:
    """Return the number of what is one of LETTERS in full, without looking at all of them."""
    text = data.decode("utf-8", "replace")
    number = int(_numbers()[ord(text)]) if len(data) == 3 and len(text) == 1 else -1
    return [number] if number >= 0 else []


def _place(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the place of each pair of numbers in a table of PLACES."""
    return np.asarray((left.astype(np.int64) * COUNT + right) * 2654435761 >> 16 & PLACES - 1)


class Seams:
    """The places where text can be cut for a vocabulary; without one, only those of the first kind."""

    def __init__(self, vocabulary: Iterable[bytes] = ()) -> None:
        self._kind = _kinds()
        ends = np.zeros((4, 4), bool)
        ends[LETTER, [DIGIT, SIGN]] = ends[DIGIT, [LETTER, SIGN]] = True
        self._ends = ends.reshape(-1)
        self._number = _numbers()
        self._never_after = np.zeros(COUNT, bool)  # such a character goes on whatever follows
        self._never_before = np.zeros(COUNT, bool)
        pairs: set[tuple[int, int]] = set()
        self._any = False
        for token in vocabulary:
            self._learn(token, pairs)
            self._any = True
        self._joined = np.zeros(PLACES, bool)
        if pairs:
            left, right = np.array(sorted(pairs)).T
            self._joined[_place(left, right)] = True

    def _learn(self, data: bytes, pairs: set[tuple[int, int]]) -> None:
        """Note what a token joins."""
        for at in range(1, len(data)):
            if 0xE4 <= data[at] <= 0xE9 and data[at - 1] & 0xC0 == 0x80:
                self._join(_ending(data[max(0, at - 3) : at]), _beginning(data[at : at + 3]), pairs)

    def _join(self, left: Sequence[int], right: Sequence[int], pairs: set[tuple[int, int]]) -> None:
        if len(left) == len(right) == 1:
            pairs.add((left[0], right[0]))
        elif len(left) <= len(right):
            self._never_after[left] = True
        else:
            self._never_before[right] = True

    def between(self, codes: np.ndarray) -> np.ndarray:
        """Return for each character but the last whether text can be cut after it."""
        plane = np.where(codes < 1 << 16, codes, 0xFFFF)
        kind = self._kind[plane]
        cut = self._ends[kind[:-1] * 4 + kind[1:]]
        if self._any:
            number = self._number[plane]
            at = np.flatnonzero((number[:-1] >= 0) & (number[1:] >= 0) & (number[1:] < len(CHINESE)))
            left, right = number[at], number[at + 1]
            joined = self._joined[_place(left, right)]
            cut[at] |= ~(joined | self._never_after[left] | self._never_before[right])
        return np.asarray(cut)

    def cut(self, texts: Sequence[str]) -> tuple[list[str], list[int]]:
        """Return the pieces of all texts, and how many there are up to the end of each text."""
        joined = "".join(texts)
        if not joined:
            return [], [0] * len(texts)
        codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
        ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
        last = np.zeros(len(codes) + 1, bool)  # whether a piece ends before this character
        last[1:-1] = self.between(codes)
        last[ends] = True
        last[0] = False
        edges = np.flatnonzero(last)
        stops = np.searchsorted(edges, ends, side="right").tolist()
        at = edges.tolist()
        return [joined[begin:end] for begin, end in zip([0, *at], at)], stops
