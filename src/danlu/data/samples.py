"""Encoded samples by number, to be taken from arrays in memory or on disk.

    tokens   ids of all records, end to end          uint16, or int32 above 65,536 words
    starts   where each sample begins in them        int64
    lengths  how many places it takes                int32
    rows     which row of the data it is from        int64; see rows.py
    codes    index of each id's weight in the table  uint8; absent if all weigh 1

Sample i reads tokens[starts[i] :][: lengths[i]] and learns the ones after each.

Letters: S samples, N tokens of them all.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from danlu.data.rows import row_id, split_row


class Taken(NamedTuple):
    """Some samples, end to end."""

    tokens_N: np.ndarray
    labels_N: np.ndarray
    """The id after each token."""
    weights_N: np.ndarray | None
    """How much each label counts; None: 1 each."""
    lengths_S: np.ndarray
    rows_S: np.ndarray


@dataclass
class Shard:
    """The arrays of some samples."""

    tokens: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    rows: np.ndarray
    codes: np.ndarray | None = field(default_factory=lambda: None)  # so that a subclass may open it later
    table: tuple[float, ...] = (1.0,)
    """Weights that `codes` points into."""
    file: int = 0
    """Added to the number of each row's file."""

    def __len__(self) -> int:
        return len(self.lengths)

    @functools.cached_property
    def places(self) -> int:
        """Tokens that are read."""
        return int(self.lengths.sum(dtype=np.int64))

    @functools.cached_property
    def squares(self) -> int:
        """Sum of the squares of all lengths."""
        return int((self.lengths.astype(np.int64) ** 2).sum())

    def take(self, numbers: np.ndarray) -> Taken:
        """Return the samples of these numbers."""
        length_S = self.lengths[numbers].astype(np.int64)
        first_S = np.cumsum(length_S) - length_S
        place_N = np.arange(length_S.sum()) + np.repeat(self.starts[numbers] - first_S, length_S)
        weights_N = None
        if self.codes is not None:
            weights_N = np.array(self.table, np.float32)[self.codes[place_N + 1]]
        rows_S = self.rows[numbers] + row_id(self.file, 0)
        return Taken(self.tokens[place_N], self.tokens[place_N + 1], weights_N, length_S, rows_S)


class Samples:
    """The samples of some shards, numbered through."""

    def __init__(self, shards: Sequence[Shard], key: str = "", files: Sequence[str] = ()) -> None:
        self.shards = list(shards)
        self.key = key
        """Names the content: equal keys, equal samples."""
        self.files = list(files)
        self._ends = np.cumsum([len(shard) for shard in self.shards])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def lengths_of(self, numbers: np.ndarray) -> np.ndarray:
        """Return how many places each of these samples takes."""
        if len(self.shards) == 1:
            return self.shards[0].lengths[numbers]
        out = np.empty(len(numbers), np.int32)
        for shard, chosen, inner in self._by_shard(numbers):
            out[chosen] = shard.lengths[inner]
        return out

    def take(self, numbers: np.ndarray) -> Taken:
        """Return these samples, end to end in the order asked."""
        if len(self.shards) == 1:
            return self.shards[0].take(numbers)
        length_S = self.lengths_of(numbers).astype(np.int64)
        first_S = np.cumsum(length_S) - length_S
        tokens_N, labels_N = np.empty((2, length_S.sum()), np.int64)
        weights_N = np.ones(len(tokens_N), np.float32) if self._coded else None
        rows_S = np.empty(len(numbers), np.int64)
        for shard, chosen, inner in self._by_shard(numbers):
            part = shard.take(inner)
            ends = np.cumsum(part.lengths_S)
            place_n = np.arange(ends[-1]) + np.repeat(first_S[chosen] - ends + part.lengths_S, part.lengths_S)
            tokens_N[place_n], labels_N[place_n], rows_S[chosen] = part.tokens_N, part.labels_N, part.rows_S
            if weights_N is not None and part.weights_N is not None:
                weights_N[place_n] = part.weights_N
        return Taken(tokens_N, labels_N, weights_N, length_S, rows_S)

    def _by_shard(self, numbers: np.ndarray) -> Iterator[tuple[Shard, np.ndarray, np.ndarray]]:
        """Yield each shard that has some of these samples, which of them, and their numbers in it."""
        shard_S = np.searchsorted(self._ends, numbers, side="right")
        for index in np.unique(shard_S):
            chosen = np.flatnonzero(shard_S == index)
            begin = self._ends[index - 1] if index else 0
            yield self.shards[index], chosen, numbers[chosen] - begin

    @functools.cached_property
    def _coded(self) -> bool:
        return any(tuple(shard.table) != (1.0,) for shard in self.shards)

    @functools.cached_property
    def weighted(self) -> bool:
        """Whether some label counts neither 0 nor 1."""
        return any(set(shard.table) - {0.0, 1.0} for shard in self.shards)

    @functools.cached_property
    def places(self) -> int:
        """Tokens that are read, all samples together."""
        return sum(shard.places for shard in self.shards)

    @functools.cached_property
    def mean_context(self) -> float:
        """How many tokens before it a token sees on average."""
        return sum(shard.squares for shard in self.shards) / (2 * self.places)

    def where(self, row: int) -> str:
        """Return the file and line of a row."""
        file, number = split_row(row)
        return f"{self.files[file]}:{number + 1}" if file < len(self.files) else f"row {row}"
