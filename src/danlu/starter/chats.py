"""Chats about the little world: questions and answers, who the assistant is, thoughts, prompts to be judged.

Each function returns one row. Every question of a row is of the side that was asked for (split.py).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from danlu.starter.split import chance, pick
from danlu.starter.world import Asked, Topic, World

Message = dict[str, Any]
SYSTEM = 0.2  # of chats begin with a system message
TURNS = (1, 1, 1, 2, 2, 3, 4)
EMPTY = {"zh": "空", "en": "empty"}  # stands where the model is to answer


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def sft(worlds: Sequence[World], dice: random.Random, heldout: bool) -> dict[str, Any]:
    """Return a chat of one or several turns, sometimes opened politely, sometimes after a system message."""
    world = pick(dice, worlds)
    messages, short = _opening(world, dice)
    turns = pick(dice, TURNS)
    if turns > 1 and chance(dice, 0.3):
        polite = world.ask(dice, heldout, world.manners)
        messages += [user(polite.question), assistant(polite.answer)]
    asked: Asked | None = None
    for _ in range(turns):
        asked = _next(world, dice, heldout, short, asked)
        messages += [user(asked.question), assistant(asked.answer)]
    return {"conversations": messages}


def identity(worlds: Sequence[World], dice: random.Random, heldout: bool) -> dict[str, Any]:
    """Return a chat about who the assistant is; every other one has a fact before or after it."""
    world = pick(dice, worlds)
    messages, _ = _opening(world, dice, short=False)
    topics: list[Sequence[Topic]] = [world.selves]
    if chance(dice, 0.3):
        topics.insert(pick(dice, (0, 1)), pick(dice, (world.selves, world.facts, world.manners)))
    for about in topics:
        asked = world.ask(dice, heldout, about, short=False)
        messages += [user(asked.question), assistant(asked.answer)]
    return {"conversations": messages}


def reason(worlds: Sequence[World], dice: random.Random, heldout: bool) -> dict[str, Any]:
    """Return a question of several steps, answered by the steps between think tags and the result."""
    world = pick(dice, worlds)
    asked = world.ask(dice, heldout, world.reasons)
    steps = "\n".join(world.fill(line, asked.topic.rows[asked.number]) for line in asked.topic.lines["~"])
    said = f"<think>\n{steps}\n</think>\n<answer>\n{asked.answer}\n</answer>"
    return {"conversations": [user(asked.question), assistant(said)]}


def rlaif(worlds: Sequence[World], dice: random.Random, heldout: bool) -> dict[str, Any]:
    """Return a prompt whose last turn waits for the model, and under `gt` what an answer must contain."""
    world = pick(dice, worlds)
    messages, _ = _opening(world, dice)
    asked = world.ask(dice, heldout, pick(dice, (world.facts, world.reasons)))
    key = world.reply(asked.topic, asked.number, short=True)
    return {
        "conversations": [*messages, user(asked.question), assistant(EMPTY[world.language])],
        "gt": key,
    }


def _opening(world: World, dice: random.Random, short: bool | None = None) -> tuple[list[Message], bool]:
    """Return a system message or none, and whether it asks for short answers."""
    if not chance(dice, SYSTEM):
        return [], False
    while True:
        brief, text = world.system(dice)
        if short is None or brief == short:
            return [{"role": "system", "content": text}], brief


def _next(world: World, dice: random.Random, heldout: bool, short: bool, before: Asked | None) -> Asked:
    """Return a question that goes on with the one before, or a new one."""
    if before and chance(dice, 0.6):
        asked = world.follow_up(dice, heldout, before.topic, short)
        if asked:
            return asked
    return world.ask(dice, heldout, world.facts, short)
