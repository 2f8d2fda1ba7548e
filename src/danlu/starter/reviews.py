"""Short opinions for classification: 1 praises, 0 complains."""

from __future__ import annotations

import random
from collections.abc import Sequence

from danlu.starter.split import is_heldout, pick
from danlu.starter.world import World

SLOTS = ("opening", "subject", "praise", "blame", "happy", "unhappy")


def classify(worlds: Sequence[World], dice: random.Random, heldout: bool, label: int) -> dict[str, str]:
    """Return one opinion with its label."""
    world = pick(dice, worlds)
    while True:
        form = pick(dice, world.talk["reviews"]).split(" / ")[1 - label]
        said = world.sentence(form.format(**{slot: world.word(dice, slot) for slot in SLOTS}))
        if is_heldout(said) == heldout:
            return {"text": said, "label": str(label)}
