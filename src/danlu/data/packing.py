"""Pack short samples into full rows, so that no step is spent on padding.

Samples are taken in the global order, a window of them at a time, and the window is packed best-fit,
longest first; then its rows are shuffled, or long samples would always come before short ones. A
window's rows follow from (seed, epoch, window) and the lengths alone, so any of them can be planned
again without those before it: that is what makes the cursor of a stream three numbers.

    samples in order   [ window 0 ........ ][ window 1 ........ ]
    rows               [ r r r r r r r ][ r r r r r r r r ]        a window more or less

Packing moves samples within their window only; their content never changes. A sample longer than a
row is refused: cutting is the encoder's decision, made where it can be counted and said.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from danlu.data.order import Order, mix
from danlu.data.samples import Samples

WINDOW = 4096
COUNTED = 1024


def best_fit(lengths: Sequence[int] | np.ndarray, row: int) -> list[list[int]]:
    """Group sample indices so that the lengths in each group add up to `row` or less.

    Longest first, each into the fullest group that still has room.

    >>> best_fit([5, 4, 3, 2], row=8)
    [[0, 2], [1, 3]]
    """
    groups: list[list[int]] = []
    with_room: list[list[int]] = [[] for _ in range(row + 1)]  # groups by the room they have
    rooms = 0  # bit r is set if some group has exactly r tokens of room
    sizes = np.asarray(lengths)
    for index in np.argsort(-sizes, kind="stable").tolist():
        length = int(sizes[index])
        if length > row:
            raise ValueError(f"sample {index} has {length} tokens; a row holds {row}")
        fitting = rooms >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            group = with_room[room].pop()
            if not with_room[room]:
                rooms ^= 1 << room
            groups[group].append(index)
        else:
            room, group = row, len(groups)
            groups.append([index])
        with_room[room - length].append(group)
        rooms |= 1 << (room - length)
    return groups


class Plan:
    """Which samples stand in which row, for any window of any epoch."""

    def __init__(
        self,
        samples: Samples,
        row: int,
        seed: int,
        packing: bool = True,
        shuffle: bool = True,
        window: int = WINDOW,
    ) -> None:
        self.samples = samples
        self.row = row
        self.seed = seed
        self.packing = packing
        self.shuffle = shuffle
        self.windows = max(1, round(len(samples) / window))
        self._counts: dict[int, int] = {}

    def rows(self, epoch: int, window: int) -> list[list[int]]:
        """Return the samples of each row of one window, in the order they are trained on."""
        order = Order(len(self.samples), mix(self.seed, epoch) if self.shuffle else None)
        samples = order[np.arange(self._edge(window), self._edge(window + 1))]
        if not self.packing:
            return [[sample] for sample in samples.tolist()]
        groups = best_fit(self.samples.lengths_of(samples), self.row)
        places = Order(len(groups), mix(self.seed, epoch, window, 1) if self.shuffle else None)
        numbers = samples.tolist()
        return [[numbers[i] for i in groups[place]] for place in places[np.arange(len(groups))].tolist()]

    def count_rows(self, epoch: int) -> int:
        """Return how many rows an epoch has, by planning it: about two seconds a million samples."""
        if not self.packing:
            return len(self.samples)
        if epoch not in self._counts:
            self._counts[epoch] = sum(len(self.rows(epoch, window)) for window in range(self.windows))
        return self._counts[epoch]

    def _edge(self, window: int) -> int:
        return len(self.samples) * window // self.windows
