"""One language's view of the little world: its rows, what can be asked about them, and the ways of asking.

    world = World("en")
    asked = world.ask(dice, heldout=False, topics=world.facts)
    asked.question    "Hello! What is the capital of France?"
    asked.answer      "The capital of France is Paris."      "Paris", if only the answer was asked for

A question is a topic's wording, filled with a row, in a frame. Frames, wordings and rows meet freely, so
a held-out question is a meeting that training has not seen, of things that it has. An answer depends on
topic and row alone, and on whether a short one was asked for.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from danlu.starter.grammar import sections
from danlu.starter.reckoning import COMPUTED, Row, Rows
from danlu.starter.split import is_heldout, pick

FOLDER = Path(__file__).parent / "words"
LANGUAGES = {"zh": "chinese", "en": "english"}
COMMA = {"zh": "、", "en": ", "}
NAMES = {"zh": ("丹丹", "丹炉"), "en": ("Dandan", "Danlu")}
ABOUT_US = ("self", "manner")  # sections of topics that are no facts
MOST, LEAST = 100, 14  # weight of a topic: its rows, within these
OPEN = 1000  # rows of a topic that nobody learns by heart; it counts half
PATIENCE = 200  # throws, until another topic is tried: a small one may have nothing of a side


@dataclass(frozen=True)
class Topic:
    """Something that can be asked about every row of a section."""

    name: str
    section: str
    rows: Sequence[Row]
    lines: dict[str, list[str]] = field(default_factory=dict)
    """By first character: ? questions, = answer, - short answer, . statements, > follow-ups, ~ thoughts."""

    @property
    def answer(self) -> str:
        return self.lines["="][0]

    @property
    def short(self) -> str:
        return self.lines.get("-", self.lines["="])[0]


class Asked(NamedTuple):
    """A question with its answer, and where they came from."""

    topic: Topic
    number: int
    """Of the row."""
    question: str
    answer: str


class World:
    """Rows, topics and sayings of one language."""

    def __init__(self, language: str, name: str = "", maker: str = "") -> None:
        self.language = language
        self.me = dict(zip(("name", "maker"), (name or NAMES[language][0], maker or NAMES[language][1])))
        self.rows = read_rows(language) | {"self": [self.me], "manner": [{}]}
        topics = read_topics(language, self.rows)
        self.facts = [topic for topic in topics if topic.section not in ABOUT_US and "~" not in topic.lines]
        self.selves = [topic for topic in topics if topic.section == "self"]
        self.manners = [topic for topic in topics if topic.section == "manner"]
        self.reasons = [topic for topic in topics if "~" in topic.lines]
        self.talk = {title: body.splitlines() for title, body in read(f"{LANGUAGES[language]}_talk.txt")}

    def word(self, dice: random.Random, kind: str) -> str:
        """Return one of the words of a section of the talk file."""
        return pick(dice, self.talk[kind][0].split()).replace("|", " ")

    def ask(
        self, dice: random.Random, heldout: bool, topics: Sequence[Topic], short: bool | None = None
    ) -> Asked:
        """Return a question of the asked side about one of some topics; its answer short, whole or either."""
        topic = weighted(dice, topics)
        for attempt in itertools.count(1):
            topic = topic if attempt % PATIENCE else weighted(dice, topics)
            number = int(dice.random() * len(topic.rows))
            wording = pick(dice, topic.lines["?"])
            frames = self.talk.get(f"{topic.section} frames", self.talk["frames"])
            brief, frame = starred(pick(dice, frames))
            if brief and (short is False or "-" not in topic.lines):
                continue
            question = self.framed(frame, self.fill(wording, topic.rows[number]))
            if is_heldout(question) == heldout:
                return self.asked(topic, number, question, brief or bool(short))
        raise AssertionError("unreachable")

    def follow_up(
        self, dice: random.Random, heldout: bool, topic: Topic, short: bool = False
    ) -> Asked | None:
        """Return a question that goes on with the topic of the one before, if there is any."""
        for _ in range(100 if ">" in topic.lines else 0):
            number = int(dice.random() * len(topic.rows))
            question = self.sentence(self.fill(pick(dice, topic.lines[">"]), topic.rows[number]))
            if is_heldout(question) == heldout:
                return self.asked(topic, number, question, short)
        return None

    def asked(self, topic: Topic, number: int, question: str, short: bool = False) -> Asked:
        return Asked(topic, number, question, self.reply(topic, number, short))

    def reply(self, topic: Topic, number: int, short: bool = False) -> str:
        """Return the answer about a row."""
        answer = self.fill(topic.short if short else topic.answer, topic.rows[number])
        return answer if short and "-" in topic.lines else self.sentence(answer)

    def state(self, dice: random.Random, heldout: bool, topics: Sequence[Topic]) -> str:
        """Return a sentence of the asked side that tells a fact of one of some topics, or of any."""
        for attempt in itertools.count():
            topic = weighted(dice, topics if attempt < PATIENCE else self.facts)
            told = self.sentence(self.fill(pick(dice, topic.lines["."]), pick(dice, topic.rows)))
            if is_heldout(told) == heldout:
                return told
        raise AssertionError("unreachable")

    def system(self, dice: random.Random) -> tuple[bool, str]:
        """Return a system message, and whether it asks for short answers."""
        brief, text = starred(pick(dice, self.talk["systems"]))
        return brief, self.fill(text, self.me)

    def fill(self, text: str, row: Row) -> str:
        """Return a text with the fields of a row, and our own name, in its slots."""
        return text.format_map({**self.me, **row})

    def framed(self, frame: str, question: str) -> str:
        return self.sentence(frame.format(q=question, Q=self.sentence(question), **self.me))

    def sentence(self, text: str) -> str:
        """Return a text with a capital letter, where the language has them."""
        return text[:1].upper() + text[1:] if self.language == "en" else text


def starred(line: str) -> tuple[bool, str]:
    """Return whether a line asks for short answers, and the line.

    >>> starred("* Answer briefly.")
    (True, 'Answer briefly.')
    """
    return line.startswith("* "), line.removeprefix("* ")


def weighted(dice: random.Random, topics: Sequence[Topic]) -> Topic:
    """Return a topic; one with more rows comes more often."""
    weights = [
        MOST / 2 if len(topic.rows) > OPEN else max(LEAST, min(len(topic.rows), MOST)) for topic in topics
    ]
    left = dice.random() * sum(weights)
    for topic, weight in zip(topics, weights):
        left -= weight
        if left < 0:
            return topic
    return topics[-1]


def read(name: str) -> list[tuple[str, str]]:
    return list(sections((FOLDER / name).read_text(encoding="utf-8")))


@functools.cache
def read_rows(language: str) -> Rows:
    """Return the rows of every section, listed or computed, as one language says them."""
    rows: Rows = {}
    for title, body in read("world.txt"):
        name, _, names = title.partition(": ")
        rows[name] = []
        for line in body.splitlines():
            said = line.split(" / ")[-1 if language == "en" else 0].split()
            rows[name].append({key: word.replace("|", " ") for key, word in zip(names.split(), said)})
    for name, compute in COMPUTED.items():
        rows[name] = compute(rows, COMMA[language])
    return rows


def read_topics(language: str, rows: Rows) -> list[Topic]:
    """Return what can be asked, each topic with its rows and its lines by their first character."""
    topics = []
    for title, body in read(f"{LANGUAGES[language]}_topics.txt"):
        name, _, section = title.partition(" of ")
        lines: dict[str, list[str]] = {}
        for line in body.splitlines():
            lines.setdefault(line[0], []).append(line[2:])
        topics.append(Topic(name, section, rows[section], lines))
    return topics
