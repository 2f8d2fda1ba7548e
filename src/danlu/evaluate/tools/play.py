"""Many talks at once: every model is asked as much as it can take, and no talk waits for another.

    for played in play(cases, model, toolboxes()):
        played.case, played.exchanges, played.verdicts

They come as they end, not in order. If the model fails for good its error comes up here; what was played
before has come already.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from danlu.evaluate.tools.boxes import Box, Toolboxes
from danlu.evaluate.tools.cases import Case
from danlu.evaluate.tools.judge import Verdict, judge
from danlu.evaluate.tools.talk import ROUNDS, Ask, Exchange, Messages, Refused, answer
from danlu.tools.parse import Message


class Model(Protocol):
    """Whoever answers: a server, or weights here."""

    together: int
    """How many questions it should have at once."""

    @property
    def about(self) -> dict[str, Any]:
        """Who it is, for a report."""

    def begin(self, number: int, ask: Ask) -> None:
        """Take a question."""

    def finished(self) -> list[tuple[int, Message | Refused]]:
        """Return answers, at least one as long as there are questions."""

    def ask(self, ask: Ask) -> Message:
        """Return the answer to one question."""

    def close(self) -> None:
        """Take no more questions."""


@dataclass
class Played:
    """A case, what it led to, and what that is worth."""

    case: Case
    offered: list[dict[str, Any]]
    messages: Messages = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    refused: str = ""
    """Why the model did not answer all of it."""


def talk(case: Case, boxes: Toolboxes, rounds: int = ROUNDS) -> Generator[Ask, Message, Played]:
    """Play one case."""
    box = Box(case, boxes)
    played = Played(case, box.offered)
    if case.system:
        played.messages.append({"role": "system", "content": case.system})
    try:
        for question in case.questions:
            played.messages.append({"role": "user", "content": question.user})
            played.exchanges.append((yield from answer(played.messages, box.offered, box.run, rounds)))
    except Refused as refused:
        played.refused = refused.problem
    answered = itertools.zip_longest(case.questions, played.exchanges)
    played.verdicts = [judge(question, exchange, box.by_name) for question, exchange in answered]
    return played


def play(cases: Iterable[Case], model: Model, boxes: Toolboxes, rounds: int = ROUNDS) -> Iterator[Played]:
    """Play cases, as many at once as the model takes."""
    waiting = enumerate(cases)
    under_way: dict[int, Generator[Ask, Message, Played]] = {}
    try:
        while True:
            for number, case in itertools.islice(waiting, model.together - len(under_way)):
                under_way[number] = talk(case, boxes, rounds)
                model.begin(number, next(under_way[number]))
            if not under_way:
                return
            for number, said in model.finished():
                ended = _told(under_way[number], said, number, model)
                if ended:
                    del under_way[number]
                    yield ended
    finally:
        model.close()


def _told(
    talk: Generator[Ask, Message, Played], said: Message | Refused, number: int, model: Model
) -> Played | None:
    """Go on with a talk; return what it was if that ends it."""
    try:
        ask = talk.throw(said) if isinstance(said, Refused) else talk.send(said)
    except StopIteration as stop:
        ended: Played = stop.value
        return ended
    model.begin(number, ask)
    return None
