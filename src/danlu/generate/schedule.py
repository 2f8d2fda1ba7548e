"""Which prompts are read in the next step, and how much of each.

While answers are under way a step reads at most `BESIDE` tokens, so that a long prompt delays each of
their tokens a little and none of them for long. Half of a step belongs to the prompt that came first,
whatever its length; the rest goes to those that need least. So the short ones behind a long one are
answered soon, and the long one is never put off:

    left to read   3000  40  200  90       pieces of 256     128  40   0  88
                                           then              128   0 126   2     then 182 0 74 0 ...

Prompts are read in one forward where that fills few places up.
"""

from __future__ import annotations

from collections.abc import Sequence

CHUNK = 512
"""Tokens of one prompt read in one forward: bounds its attention mask."""
BESIDE = 256
"""Tokens of all prompts read in a step beside answers."""
ALONE = 2048
"""Tokens of all prompts read in a step that does nothing else."""
FILLING = 1.25
"""Places of a forward for each token in it, at most."""


def pieces(left: Sequence[int], alone: bool) -> list[int]:
    """Return how many tokens of each prompt to read, oldest first.

    >>> pieces([3000, 40, 200, 90], alone=False)
    [128, 40, 0, 88]
    """
    budget = ALONE if alone else BESIDE
    taken = [0] * len(left)
    shortest = sorted(range(len(left)), key=lambda number: left[number])
    for number, most in [(0, budget // 2), *((number, budget) for number in shortest)]:
        if number < len(left):
            more = min(most, budget, left[number] - taken[number], CHUNK - taken[number])
            taken[number] += more
            budget -= more
    return taken


def groups(counts: Sequence[int]) -> list[list[int]]:
    """Return which pieces to read together, widest first; those of no token are left out.

    >>> groups([100, 0, 20, 95, 19])
    [[0, 3], [2, 4]]
    """
    found: list[list[int]] = []
    filled = tokens = 0
    for number in sorted(range(len(counts)), key=lambda number: -counts[number]):
        if not counts[number]:
            continue
        width = counts[found[-1][0]] if found else 0
        if not found or filled + width > FILLING * (tokens + counts[number]):
            found.append([])
            filled = tokens = 0
            width = counts[number]
        found[-1].append(number)
        filled += width
        tokens += counts[number]
    return found
