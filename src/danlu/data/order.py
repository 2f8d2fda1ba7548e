"""A shuffled order that is computed, never stored: the i-th index of a keyed permutation.

A Feistel network turns numbers of 2k bits into numbers of 2k bits, one to one, for any round
function; numbers that fall outside 0..n-1 go through it again until they fall inside (cycle walking:
at most four rounds on average, since 4 ** k < 4 n). So the place of row 10**8 costs what that of row
1 costs, a new epoch is a new key, and two machines that agree on the key agree on the order.
"""

from __future__ import annotations

import numpy as np

ROUNDS = 6
MASK64 = (1 << 64) - 1


def mix(*numbers: int) -> int:
    """Return 64 bits that depend on every bit of the numbers (SplitMix64, Steele et al. 2014)."""
    state = 0
    for number in numbers:
        state = (state ^ (number & MASK64)) + 0x9E3779B97F4A7C15 & MASK64
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & MASK64
        state = (state ^ state >> 27) * 0x94D049BB133111EB & MASK64
        state ^= state >> 31
    return state


class Order:
    """A permutation of 0..size-1, chosen by a key; without one, the order as it is.

    >>> sorted(Order(5, key=7)[np.arange(5)].tolist())
    [0, 1, 2, 3, 4]
    """

    def __init__(self, size: int, key: int | None) -> None:
        self.size = size
        self._half = max(1, ((size - 1).bit_length() + 1) // 2)
        self._keys = None if key is None else [np.uint64(mix(key, number)) for number in range(ROUNDS)]

    def __getitem__(self, places: np.ndarray) -> np.ndarray:
        """Return what stands at these places."""
        if self._keys is None:
            return places
        out = self._scramble(places.astype(np.uint64))
        while (outside := np.flatnonzero(out >= self.size)).size:
            out[outside] = self._scramble(out[outside])
        return out.astype(np.int64)

    def _scramble(self, x: np.ndarray) -> np.ndarray:
        assert self._keys is not None
        half, low = np.uint64(self._half), np.uint64((1 << self._half) - 1)
        left, right = x >> half, x & low
        for key in self._keys:
            h = (right ^ key) * np.uint64(0xBF58476D1CE4E5B9)
            h = (h ^ (h >> np.uint64(29))) * np.uint64(0x94D049BB133111EB)
            left, right = right, left ^ ((h ^ (h >> np.uint64(32))) & low)
        return (left << half) | right
