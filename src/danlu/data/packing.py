"""Pack short samples into full rows, so that no step is spent on padding.

A window of samples is packed best-fit, longest first; then its rows are shuffled, or long samples would
always come before short ones. A window's rows follow from its samples' lengths and its key alone, so any
window can be packed again without those before it.

    samples in order   [ window 0 ........ ][ window 1 ........ ]
    rows               [ r r r r r r r ][ r r r r r r r r ]        a window more or less

Packing moves samples within their window only; their content never changes. A sample longer than a row
is refused: cutting is the encoder's decision, made where it can be counted and said.

Samples of equal length are placed together, which changes nothing: best-fit gives a group all of them
that it can hold before it looks at another. How many rows come of it needs their histogram only.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from danlu.data.order import Order, mix

Move = tuple[int, int, int, int]
"""(room, left, groups, each): so many groups of equal room, new ones if that is a whole row, take so
many samples of one length each and have so much room left."""


def _place(runs: Iterable[tuple[int, int]], row: int, moves: list[Move] | None = None) -> int:
    """Place samples, given as (length, how many), longest first; return how many groups it takes."""
    made = 0
    waiting = [0] * (row + 1)  # groups by the room they have
    rooms: list[int] = []  # the rooms that some group has, least first
    for length, count in runs:
        at = bisect_left(rooms, length)
        while count:
            new = at == len(rooms)
            room = row if new else rooms[at]
            each = room // length
            if each > count:
                each, groups = count, 1
            else:
                groups = count // each
            if new:
                made += groups
            elif groups >= waiting[room]:
                groups = waiting[room]
                waiting[room] = 0
                del rooms[at]
            else:
                waiting[room] -= groups
            count -= groups * each
            left = room - each * length
            if not waiting[left]:
                insort(rooms, left)
                if left < length:
                    at += 1
            waiting[left] += groups
            if moves is not None:
                moves.append((room, left, groups, each))
    return made


def best_fit(lengths: Sequence[int] | np.ndarray, row: int) -> list[list[int]]:
    """Group sample indices so that the lengths in each group add up to `row` or less.

    Longest first, each into the fullest group that still has room.

    >>> best_fit([5, 4, 3, 2], row=8)
    [[0, 2], [1, 3]]
    """
    sizes = np.asarray(lengths)
    _check(sizes, row)
    with_room: list[list[int]] = [[] for _ in range(row + 1)]
    group_of: list[int] = []  # each sample, longest first
    made = 0
    moves: list[Move] = []
    _place(_runs(sizes, row), row, moves)
    for room, left, groups, each in moves:
        if room == row:
            chosen = list(range(made, made + groups))
            made += groups
        else:
            chosen = with_room[room][-groups:]
            del with_room[room][-groups:]
        with_room[left] += chosen
        group_of += chosen if each == 1 else [group for group in chosen for _ in range(each)]
    groups_S = np.array(group_of, np.int64)
    order = np.argsort(-sizes, kind="stable")[np.argsort(groups_S, kind="stable")].tolist()
    ends = np.cumsum(np.bincount(groups_S, minlength=made)).tolist()
    return [order[begin:end] for begin, end in zip([0, *ends], ends)]


def count_groups(lengths: np.ndarray, row: int) -> int:
    """Return how many groups `best_fit` makes, without making them.

    >>> count_groups(np.array([5, 4, 3, 2]), row=8)
    2
    """
    _check(lengths, row)
    return _place(_runs(lengths, row), row)


def _runs(lengths: np.ndarray, row: int) -> Iterator[tuple[int, int]]:
    """Return each length and how many samples have it, longest first."""
    counts = np.bincount(lengths, minlength=row + 1) if len(lengths) else np.zeros(1, np.int64)
    present = np.flatnonzero(counts)[::-1]
    return zip(present.tolist(), counts[present].tolist())


def _check(lengths: np.ndarray, row: int) -> None:
    if len(lengths) and not 1 <= int(lengths.min()) <= int(lengths.max()) <= row:
        index = int(np.argmax((lengths > row) | (lengths < 1)))
        raise ValueError(f"sample {index} has {lengths[index]} tokens; a row holds {row}")


class Packer:
    """Turns the samples of a window into rows of one width."""

    def __init__(self, row: int, packing: bool = True) -> None:
        self.row = row
        self.packing = packing

    def rows(self, lengths: np.ndarray, key: int | None) -> list[list[int]]:
        """Return which samples of a window stand in each row, in the order they are trained on."""
        if not self.packing:
            return [[sample] for sample in range(len(lengths))]
        groups = best_fit(lengths, self.row)
        places = Order(len(groups), None if key is None else mix(key, 1))
        return [groups[place] for place in places[np.arange(len(groups))].tolist()]

    def count(self, lengths: np.ndarray) -> int:
        """Return how many rows that makes."""
        return count_groups(lengths, self.row) if self.packing else len(lengths)
