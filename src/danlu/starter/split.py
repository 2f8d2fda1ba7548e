"""Which side of a starter set a text belongs to: training, or held out.

The text itself decides, by its digest: about one in eight is held out. So no question of a training
file is ever a question of a held-out file, whatever seed, size or file it came from, and nothing has to
be remembered while rows are made.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
SHARE = 32  # of 256


def is_heldout(text: str) -> bool:
    """Return whether a text is held out.

    >>> sum(is_heldout(str(number)) for number in range(8000)) // 100
    10
    """
    return hashlib.sha256(text.encode()).digest()[0] < SHARE


def pick(dice: random.Random, among: Sequence[T]) -> T:
    """Return one of several, using `random()` alone, whose values Python promises never to change."""
    return among[int(dice.random() * len(among))]


def chance(dice: random.Random, share: float) -> bool:
    """Return True in this share of the throws."""
    return dice.random() < share
