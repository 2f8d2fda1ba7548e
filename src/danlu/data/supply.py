"""Supplies: whatever gives windows of samples in the global order, from any position on.

    for window in supply.windows(position, clock): ...

A position is a few numbers in a plain dictionary, of the same size whatever the data, and says all that
is needed to go on from there. A window is what is packed together: some thousand samples in order. Its
content follows from its position (and, for a mixture whose weights change, the step it begins at), so
every rank that asks for the same window gets the same one.

    Mapped     samples of the cache, in the order of a keyed permutation; here
    Streamed   rows read and encoded as they come; streamed.py
    Mixture    several of these by weight; mixture.py

Letters: S samples of a window.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from danlu.data.order import Order, mix
from danlu.data.samples import Samples

WINDOW = 4096  # samples that are packed together

Position = dict[str, Any]


@dataclass
class Clock:
    """Tells at which optimiser step the window that is asked for begins. Set by whoever asks."""

    step: int = 0
    again: bool = False
    """The window was given before, so what was said of its rows is not said again."""


@dataclass
class Window:
    """Some samples in order, and where the supply stands before and after them."""

    position: Position
    after: Position
    samples: Samples
    numbers_S: np.ndarray
    lengths_S: np.ndarray
    key: int | None
    """Decides the order of the rows that are made of them; None: as packed."""
    source_S: np.ndarray | None = None
    """Which source of a mixture each is from."""


class Supply(Protocol):
    """What a stream reads. Holds no position of its own."""

    names: tuple[str, ...]
    """Of the sources, if there are several."""
    identity: dict[str, Any]
    """What decides its samples and their order."""
    files: int
    """How many files its rows are of."""

    @property
    def weighted(self) -> bool:
        """Whether labels may count neither 0 nor 1."""
        ...

    @property
    def mean_context(self) -> float:
        """How many tokens before it a token sees on average."""
        ...

    def start(self) -> Position: ...

    def epoch(self, position: Position) -> int:
        """Return how many epochs end before a position; windows do not reach over such an end."""
        ...

    def size(self) -> int | None:
        """Return how many samples an epoch has, or None if only reading would tell."""
        ...

    def windows(self, position: Position, clock: Clock) -> Iterator[Window]:
        """Yield windows from a position on, epoch after epoch, without end."""
        ...

    def where(self, row: int) -> str:
        """Return the file and line of a row."""
        ...

    def tell(self) -> None:
        """Say what happened to the rows on the way, unless that is said."""
        ...


class Mapped:
    """Samples that can be taken by number: an epoch is cut into equal windows."""

    names: tuple[str, ...] = ()

    def __init__(self, samples: Samples, seed: int, shuffle: bool = True, window: int = WINDOW) -> None:
        self.samples = samples
        self.seed = seed
        self.shuffle = shuffle
        self.per_epoch = max(1, round(len(samples) / window))
        self.identity: dict[str, Any] = {
            "data": samples.key,
            "samples": len(samples),
            "seed": seed,
            "shuffle": shuffle,
            "window": window,
        }
        self.files = max(1, len(samples.files))
        self.where = samples.where

    @property
    def weighted(self) -> bool:
        return self.samples.weighted

    @property
    def mean_context(self) -> float:
        return self.samples.mean_context

    def start(self) -> Position:
        return {"epoch": 0, "window": 0}

    def epoch(self, position: Position) -> int:
        return int(position["epoch"])

    def size(self) -> int | None:
        return len(self.samples)

    def windows(self, position: Position, clock: Clock) -> Iterator[Window]:
        epoch, window = position["epoch"], position["window"]
        while True:
            order = Order(len(self.samples), mix(self.seed, epoch) if self.shuffle else None)
            while window < self.per_epoch:
                numbers_S = order[np.arange(self._edge(window), self._edge(window + 1))]
                last = window + 1 == self.per_epoch
                yield Window(
                    {"epoch": epoch, "window": window},
                    {"epoch": epoch + last, "window": 0 if last else window + 1},
                    self.samples,
                    numbers_S,
                    self.samples.lengths_of(numbers_S),
                    mix(self.seed, epoch, window) if self.shuffle else None,
                )
                window += 1
            epoch, window = epoch + 1, 0

    def tell(self) -> None:
        """What happened was said when the samples were encoded."""

    def _edge(self, window: int) -> int:
        return len(self.samples) * window // self.per_epoch


def first_window(supply: Supply) -> Window:
    """Return what a supply begins with, to look at it: training will ask for it by itself."""
    return next(iter(supply.windows(supply.start(), Clock(again=True))))


def context_of(lengths_S: np.ndarray) -> float:
    """Return how many tokens before it a token of such samples sees on average.

    >>> context_of(np.array([4, 4]))
    2.0
    """
    length_S = lengths_S.astype(np.float64)
    return float((length_S**2).sum() / (2 * length_S.sum()))
