"""A text as the set of its runs of five characters, and how alike two texts are by them.

    "abcdefg"  ->  {abcde, bcdef, cdefg}           white space runs count as one space, letters as small

Likeness is Jaccard's: what two sets share, over what they hold together. Runs of characters need no
words, so they serve Chinese as they serve English.

Letters: N runs of all texts, end to end.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SIZE = 5
BASE = np.uint64(0x9E3779B97F4A7C15)
MIXERS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def plain(text: str) -> str:
    """Return a text as it is compared.

    >>> plain(" One\\n  two ")
    'one two'
    """
    return " ".join(text.split()).lower()


def shingles(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return a 64-bit hash of every run of characters of every text, and how many runs each text has.

    A text shorter than a run is one run.
    """
    padded = [text.ljust(SIZE, "\0") for text in texts]
    codes = np.frombuffer("".join(padded).encode("utf-32-le"), np.uint32).astype(np.uint64)
    lengths = np.fromiter(map(len, padded), np.int64, len(padded))
    whole_N = np.ones(len(codes), bool)
    ends = np.cumsum(lengths)
    for back in range(1, SIZE):
        whole_N[ends - back] = False
    hashes_N = np.zeros(len(codes) - SIZE + 1, np.uint64)
    for place in range(SIZE):
        hashes_N *= BASE
        hashes_N += codes[place : place + len(hashes_N)]
    return mixed(hashes_N[whole_N[: len(hashes_N)]]), lengths - (SIZE - 1)


def mixed(numbers_N: np.ndarray) -> np.ndarray:
    """Return 64-bit numbers whose bits all depend on all bits of the given ones (Steele et al. 2014)."""
    for shift, factor in MIXERS:
        numbers_N = (numbers_N ^ (numbers_N >> np.uint64(shift))) * np.uint64(factor)
    return numbers_N ^ (numbers_N >> np.uint64(31))


def likeness(one: str, other: str) -> float:
    """Return what the runs of two texts share, over what they hold together.

    >>> likeness("abcdefg", "abcdef")
    0.6666666666666666
    """
    runs, others = (np.unique(shingles([text])[0]) for text in (one, other))
    shared = len(np.intersect1d(runs, others, assume_unique=True))
    return shared / (len(runs) + len(others) - shared)
