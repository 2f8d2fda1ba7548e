"""Notes and the records they are kept in: the same values told twice, in words and as JSON.

    The town is Lundaford. It costs 350 dollars. The day is 2031-04-17.
    {"date": "2031-04-17", "city": "Lundaford", "amount": "350 dollars"}

or the record first and the words after it. Which values come, in what order and in which words is the
dice's: all that tells the second half is the first one. So a model learns from plain text to look things
up and write them down exactly, unseen names and numbers too, which is what calling tools needs.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from danlu.starter.split import chance, pick
from danlu.starter.tools_values import GAP, Values
from danlu.starter.world import World

FIELDS: dict[str, Callable[[Values], str]] = {
    "city": Values.town,
    "date": Values.date,
    "person": Values.person,
    "value": lambda values: values.quantity(values.measure()[0]),
    "amount": lambda values: values.quantity(values.currencies()[0]),
    "expression": lambda values: values.sum()[0],
    "title": Values.appointment,
    "query": Values.thing,
    "text": lambda values: values.phrase()[0],
}
WORDS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "en": {
        "city": ("The town is {}.", "I live in {}.", "{} is the place."),
        "date": ("The day is {}.", "It happens on {}.", "{} is the date."),
        "person": ("The name is {}.", "This is {}.", "{} is my friend."),
        "value": ("It measures {}.", "The value is {}.", "We need {}."),
        "amount": ("It costs {}.", "The price is {}.", "I pay {}."),
        "expression": ("Calculate {}.", "The sum is {}.", "{} is to be worked out."),
        "title": ("We have {}.", "The plan is {}.", "Then comes {}."),
        "query": ("I look for a {}.", "Here is the {}.", "The {} is lost."),
        "text": ('It says "{}".', 'The words are "{}".', '"{}" is written there.'),
    },
    "zh": {
        "city": ("地方是{}。", "我住在{}。", "{}是我的家。"),
        "date": ("日期是{}。", "在{}这一天。", "{}开始。"),
        "person": ("名字是{}。", "这是{}。", "{}是我的朋友。"),
        "value": ("长短轻重是{}。", "一共{}。", "我们要{}。"),
        "amount": ("价钱是{}。", "要花{}。", "我付{}。"),
        "expression": ("请算 {}。", "算式是 {}。", "{} 要算出来。"),
        "title": ("我们要{}。", "计划是{}。", "然后{}。"),
        "query": ("我找{}。", "这里有{}。", "{}不见了。"),
        "text": ("上面写着“{}”。", "原文是“{}”。", "“{}”写在那里。"),
    },
}
MOST = 4  # values of a note


def notes(worlds: Sequence[World], dice: random.Random, heldout: bool) -> dict[str, Any]:
    """Return a note with its record, in either order."""
    language = pick(dice, worlds).language
    values = Values(dice, language, heldout)
    told = {name: FIELDS[name](values) for name in _some(dice, tuple(FIELDS), 1 + int(dice.random() * MOST))}
    said = GAP[language].join(pick(dice, WORDS[language][name]).format(told[name]) for name in told)
    record = {name: told[name] for name in _some(dice, tuple(told), len(told))}
    halves = [said, json.dumps(record, ensure_ascii=False)]
    return {"text": "\n".join(halves if chance(dice, 0.7) else halves[::-1])}


def _some(dice: random.Random, names: Sequence[str], count: int) -> list[str]:
    """Return some of several names, in any order."""
    left = list(names)
    return [left.pop(int(dice.random() * len(left))) for _ in range(count)]
