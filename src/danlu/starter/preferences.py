"""Pairs of answers to one question: the second is wrong, rude, rambling or in the wrong language."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from danlu.starter.chats import assistant, user
from danlu.starter.split import chance, pick
from danlu.starter.world import Asked, World


def dpo(worlds: Sequence[World], dice: random.Random, heldout: bool) -> dict[str, Any]:
    """Return one question with a better and a worse answer."""
    world = pick(dice, worlds)
    asked = world.ask(dice, heldout, pick(dice, (world.facts, world.facts, world.selves)), short=False)
    worse = None
    while worse is None or worse == asked.answer:
        worse = pick(dice, FAULTS)(worlds, world, dice, asked)
    opening = [{"role": "system", "content": world.system(dice)[1]}] if chance(dice, 0.1) else []
    prompt = [*opening, user(asked.question)]
    return {
        "chosen": [*prompt, assistant(asked.answer)],
        "rejected": [*prompt, assistant(worse)],
    }


def wrong(worlds: Sequence[World], world: World, dice: random.Random, asked: Asked) -> str | None:
    """Return the answer about another row."""
    return world.reply(asked.topic, int(dice.random() * len(asked.topic.rows)))


def rude(worlds: Sequence[World], world: World, dice: random.Random, asked: Asked) -> str | None:
    return pick(dice, world.talk["rude"])


def rambling(worlds: Sequence[World], world: World, dice: random.Random, asked: Asked) -> str | None:
    """Return much talk, with the answer somewhere in it."""
    said = [pick(dice, world.talk["ramble"]) for _ in range(2 + int(dice.random() * 2))]
    said.insert(int(dice.random() * len(said)), asked.answer)
    return ("" if world.language == "zh" else " ").join(said)


def foreign(worlds: Sequence[World], world: World, dice: random.Random, asked: Asked) -> str | None:
    """Return the same answer in the other language, where both know the topic."""
    for other in worlds:
        for topic in [*other.facts, *other.selves] if other is not world else []:
            if topic.name == asked.topic.name:
                return other.reply(topic, asked.number)
    return None


FAULTS: list[Callable[[Sequence[World], World, random.Random, Asked], str | None]] = [
    wrong,
    wrong,
    rude,
    rambling,
    foreign,
]
