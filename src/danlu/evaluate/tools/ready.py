"""The cases that come with us: the six classic ones, and held-out dialogues of the starter set.

    all_cases()         246 of them, Chinese and English in turns

The dialogues are made anew each time, from one seed, so they are the same everywhere. Every value in
their calls is one that no training file of a starter set has (see danlu.starter.split). From a dialogue
come the questions, the calls, and what results say, which is what an answer must hold:

    user       What time is it in Lundaford?          asked
    assistant  get_time(city: Lundaford)              wanted
    tool       {"time": "14:35"}                      "14:35" must be in the answer
    assistant  It is 14:35 in Lundaford.

A call that came to nothing and was mended in the same breath is allowed and not wanted: whoever makes the
right one at once did better.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from danlu.evaluate.tools.cases import Case, Expected, Question, read
from danlu.starter.tools import LANGUAGES, dialogue

SEED = 20_260
SHARES = {
    "one call": 20,
    "calls in parallel": 9,
    "calls in sequence": 6,
    "no call needed": 6,
    "a missing argument": 6,
    "a tool's error": 7,
    "no tool fits": 6,
}
"""Kinds of dialogues, and how often each is among sixty."""
TIMES = 4
CLASSIC = Path(__file__).parent / "classic.jsonl"
SORRY = {"calculate": ["zero", "undefined", "infinit", "零", "无法", "不能"]}
"""What tells that a sum has no result; of a town its name is wanted."""

Message = dict[str, Any]
Round = tuple[list[Message], list[dict[str, Any]]]
"""Calls, and what each returned."""


def all_cases() -> list[Case]:
    """Return the classic cases and the starter's."""
    return [*read(CLASSIC), *starter_cases()]


def starter_cases(times: int = TIMES) -> Iterator[Case]:
    """Yield held-out dialogues as cases, `times` sixty of them, half in each language."""
    seen: set[str] = set()
    languages = itertools.cycle(LANGUAGES)
    for kind, share in SHARES.items():
        dice = random.Random(f"{SEED} {kind}")  # of its own: a kind's cases depend on no other's
        for number, lang in zip(range(share * times), languages):
            while True:
                row = dialogue(dice, True, kind, lang)
                said = "\n".join(each["content"] for each in row["messages"] if each["role"] == "user")
                if said not in seen:
                    break
            seen.add(said)
            yield from_dialogue(row, f"{_short(kind)}-{number + 1:03}", lang, kind)


def _short(kind: str) -> str:
    """Return a kind as the beginning of an id.

    >>> _short("a tool's error")
    'tool-error'
    """
    return kind.removeprefix("a ").replace("'s", "").replace(" ", "-")


def from_dialogue(row: dict[str, Any], id: str, lang: str, kind: str) -> Case:
    """Return what a dialogue asks for."""
    messages: list[Message] = row["messages"]
    system = messages[0]["content"] if messages[0]["role"] == "system" else ""
    starts = [at for at, each in enumerate(messages) if each["role"] == "user"]
    parts = [messages[start:end] for start, end in zip(starts, [*starts[1:], len(messages)])]
    tools = [tool.get("function", tool)["name"] for tool in row["tools"]]
    questions = [_question(part) for part in parts]
    return Case(
        id=id, lang=lang, kind=kind, toolbox="starter", tools=tools, system=system, questions=questions
    )


def _question(part: Sequence[Message]) -> Question:
    """Return what is asked in a part of a dialogue that begins with a user's message."""
    rounds = list(_rounds(part))
    failed = [all("error" in result for result in results) for _, results in rounds]
    detours = [at for at, bad in enumerate(failed) if bad and at + 1 < len(rounds)]
    kept = [each for at, each in enumerate(rounds) if at not in detours]
    return Question(
        user=part[0]["content"],
        calls=[[_expected(made) for made in calls] for calls, _ in kept],
        may=[_expected(made) for at in detours for made in rounds[at][0]],
        answer=[text for calls, results in kept for each in zip(calls, results) for text in _told(*each)],
    )


def _rounds(part: Sequence[Message]) -> Iterator[Round]:
    for at, message in enumerate(part):
        if calls := message.get("tool_calls"):
            results = [json.loads(each["content"]) for each in part[at + 1 : at + 1 + len(calls)]]
            yield [made.get("function", made) for made in calls], results


def _expected(made: Message) -> Expected:
    return Expected(name=made["name"], arguments=made["arguments"])


def _told(made: Message, result: dict[str, Any]) -> Iterator[str | list[str]]:
    """Yield what an answer must hold that tells of a call's result."""
    if "error" not in result:
        yield from (str(value) for value in result.values())
    elif made["name"] in SORRY:
        yield SORRY[made["name"]]
    else:
        yield next(iter(made["arguments"].values()))
