"""A corpus of the lengths real ones have: log-normal, mean about 180 tokens, at most 340.

The tokens are random numbers: what a step costs depends on lengths and shapes, not on meaning.
"""

from __future__ import annotations

import numpy as np

LONGEST = 340


def lengths(count: int, seed: int = 0) -> np.ndarray:
    """Return `count` sample lengths.

    >>> some = lengths(10_000)
    >>> 175 < some.mean() < 185, some.max()
    (True, 340)
    """
    generator = np.random.default_rng(seed)
    drawn = generator.lognormal(mean=5.10, sigma=0.55, size=count)
    return np.clip(drawn, 8, LONGEST).astype(np.int64)


def samples(count: int, words: int = 6400, seed: int = 0) -> list[np.ndarray]:
    """Return `count` samples as arrays of token numbers above the special ones."""
    generator = np.random.default_rng(seed + 1)
    return [generator.integers(3, words, size=length) for length in lengths(count, seed)]
