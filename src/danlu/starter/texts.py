"""Texts to learn a language from: facts, questions with answers, little stories, sentences of all kinds."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

from danlu.starter.grammar import Grammar
from danlu.starter.reckoning import Row
from danlu.starter.split import chance, is_heldout, pick
from danlu.starter.world import LANGUAGES, World

SPACE = {"zh": "", "en": " "}
QUESTION = {"zh": "问：{}\n答：{}", "en": "Question: {}\nAnswer: {}"}
WORDS = 40  # of a kind in sentences of all kinds
# In this order a later section's field wins: `after` is a day's, `season` a season's.
IN_STORIES = "country colour animal month season day tool job word object".split()


def pretrain(worlds: Sequence[World], dice: random.Random, heldout: bool) -> dict[str, Any]:
    """Return one text of the asked side."""
    world = pick(dice, worlds)
    return {"text": pick(dice, KINDS)(world, dice, heldout)}


def facts(world: World, dice: random.Random, heldout: bool) -> str:
    """Return a few facts, of one topic or of several."""
    topics = [pick(dice, world.facts)] if chance(dice, 0.3) else world.facts
    told = [world.state(dice, heldout, topics) for _ in range(3 + int(dice.random() * 4))]
    return _joined(world, told)


def questions(world: World, dice: random.Random, heldout: bool) -> str:
    """Return a few questions, each with its answer."""
    asked = [world.ask(dice, heldout, world.facts) for _ in range(1 + int(dice.random() * 3))]
    return "\n".join(QUESTION[world.language].format(each.question, each.answer) for each in asked)


def story(world: World, dice: random.Random, heldout: bool) -> str:
    """Return a story about two people of the little world."""
    while True:
        told = world.fill(pick(dice, world.talk["stories"]), _cast(world, dice))
        if is_heldout(told) == heldout:
            return told


def sentences(world: World, dice: random.Random, heldout: bool) -> str:
    """Return two or three sentences of the grammar the tokenizer learns from."""
    grammar = _grammar(world.language)
    grammar.dice = dice
    while True:
        told = [world.sentence(grammar.sentence()) for _ in range(2 + int(dice.random() * 2))]
        text = _joined(world, told)
        if is_heldout(text) == heldout:
            return text


def _cast(world: World, dice: random.Random) -> Row:
    """Return who and what a story is about."""
    cast: Row = {}
    for section in IN_STORIES:
        cast |= pick(dice, world.rows[section])
    people = world.rows["person"]
    first = int(dice.random() * len(people))
    second = (first + 1 + int(dice.random() * (len(people) - 1))) % len(people)
    a, b = (2 + int(dice.random() * 9) for _ in "ab")
    return cast | {
        "one": people[first]["person"],
        "two": people[second]["person"],
        "a": str(a),
        "b": str(b),
        "c": str(a + b),
    }


def _joined(world: World, told: list[str]) -> str:
    """Return sentences as a text; what is code or a sum keeps a line of its own."""
    text = told[0]
    for before, each in zip(told, told[1:]):
        plain = before[-1] in "。.！!？?" and "\n" not in before + each
        text += (SPACE[world.language] if plain else "\n") + each
    return text


@functools.cache
def _grammar(language: str) -> Grammar:
    """Return the grammar with few words and no endings put to them, so that each comes often."""
    grammar = Grammar(LANGUAGES[language], 0)
    grammar.words = {kind: known[:WORDS] for kind, known in grammar.words.items()}
    grammar.sentences = [sentence for sentence in grammar.sentences if not re.search(r"}[a-z]", sentence)]
    return grammar


KINDS: list[Callable[[World, random.Random, bool], str]] = [
    *[facts] * 8,
    *[questions] * 5,
    *[story] * 4,
    *[sentences] * 3,
]
