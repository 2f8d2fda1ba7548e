"""What a question led to, against what was wanted.

    wanted   get_weather(city: Paris)  get_time(city: Rome)
    made     get_time(city: Rome)      get_weather(city: Pairs)     1 of 2 values right, both tools right

Calls are matched with wanted ones of the same name so that as many values as possible are right.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from danlu.evaluate.tools.cases import Expected, Question
from danlu.evaluate.tools.talk import Exchange, Made
from danlu.tools.definitions import Definition, complete

Offered = Mapping[str, Definition]
"""The tools that may be called, by name, with what each requires."""


@dataclass(frozen=True)
class Verdict:
    """One question, judged."""

    wanted: int
    """Calls that should be made."""
    asked: bool = False
    """Whether the model was asked, and answered."""
    called: bool = False
    """It called, or tried to."""
    selected: bool = False
    """The tools are the wanted ones, no others."""
    valid: bool = False
    """All arguments are JSON objects."""
    complete: bool = False
    """No call lacks what its tool must have."""
    values: int = 0
    """Wanted arguments' values: how many there are,"""
    right_values: int = 0
    """how many are right."""
    right: bool = False
    """Every wanted call was made, and rightly."""
    extra: int = 0
    """Calls that nobody wanted."""
    answered: bool | None = None
    """Whether the answer holds what it must, None if that is nothing."""
    failed: bool = False
    """A tool answered with an error."""
    turns: int = 0
    needed: int = 1
    """How often the model spoke, and had to at least."""

    @property
    def exact(self) -> bool:
        """Say whether every call was right, and none too many."""
        return self.right and not self.extra

    @property
    def well(self) -> bool:
        """Say whether nothing at all was wrong."""
        called = self.exact if self.wanted else self.asked and not self.called
        return called and self.answered is not False


def judge(question: Question, exchange: Exchange | None, offered: Offered) -> Verdict:
    """Return the verdict; None stands for a question that was never answered."""
    wanted = question.wanted
    values = sum(len(call.needed) for call in wanted)
    needed = len(question.calls) + 1
    if exchange is None:
        answered = False if question.answer else None
        return Verdict(len(wanted), values=values, answered=answered, needed=needed)
    made = exchange.calls
    pairs = matched(wanted, made)
    allowed = [call.name for call in (*wanted, *question.may)]
    extra = [number for number in range(len(made)) if number not in pairs]
    return Verdict(
        wanted=len(wanted),
        asked=True,
        called=bool(made) or exchange.unreadable,
        selected=bool(made)
        and all(call.name in allowed for call in made)
        and {call.name for call in wanted} <= {call.name for call in made},
        valid=bool(made) and not exchange.unreadable and all(call.values is not None for call in made),
        complete=bool(made) and not exchange.unreadable and all(_complete(call, offered) for call in made),
        values=values,
        right_values=sum(_values(call, made[at]) for call, at in zip(wanted, pairs) if at is not None),
        right=all(at is not None and _exact(call, made[at]) for call, at in zip(wanted, pairs))
        and in_order(question, [None if at is None else made[at].round for at in pairs]),
        extra=sum(not any(_exact(may, made[number]) for may in question.may) for number in extra),
        answered=holds_all(exchange.answer, question.answer) if question.answer else None,
        failed=any(call.failed for call in made),
        turns=exchange.turns,
        needed=needed,
    )


def matched(wanted: Sequence[Expected], made: Sequence[Made]) -> list[int | None]:
    """Return for each wanted call the number of the made one that answers it, all together the best."""
    least = len(wanted) * len(made) + 1  # of calls alike the earlier is worth a little more
    worth = [
        [least * _worth(call, each) - at if call.name == each.name else 0 for at, each in enumerate(made)]
        + [0] * len(wanted)
        for call in wanted
    ]
    return [at if worth[number][at] else None for number, at in enumerate(assigned(worth))]


def _worth(call: Expected, made: Made) -> int:
    return 1000 * _values(call, made) + 2 * _exact(call, made) + 1


def assigned(worth: Sequence[Sequence[int]]) -> list[int]:
    """Return a column for each row, none twice, that are worth most together; there are columns enough.

    Kuhn and Munkres: rows come one after the other; each takes the cheapest way of exchanging columns with
    those before it to one that is free, and prices are kept that make every exchange so far a good one.

    >>> assigned([[9, 8], [9, 1]])
    [1, 0]
    """
    count = len(worth[0]) if worth else 0
    row_prices, prices = [0] * len(worth), [0] * (count + 1)
    holders = [-1] * (count + 1)  # of each column its row; the last column is where a new row begins
    for row in range(len(worth)):
        at, holders[count] = count, row
        costs, before = [math.inf] * count, [count] * count
        left = [*range(count)]
        passed = [count]
        while holders[at] >= 0:
            holder = holders[at]
            for column in left:
                cost = -worth[holder][column] - row_prices[holder] - prices[column]
                if cost < costs[column]:
                    costs[column], before[column] = cost, at
            at = min(left, key=costs.__getitem__)
            cheapest = int(costs[at])
            for column in passed:
                row_prices[holders[column]] += cheapest
                prices[column] -= cheapest
            for column in left:
                costs[column] -= cheapest
            left.remove(at)
            passed.append(at)
        while at != count:
            holders[at], at = holders[before[at]], before[at]
    found = {holder: column for column, holder in enumerate(holders[:-1])}
    return [found[row] for row in range(len(worth))]


def in_order(question: Question, rounds: Sequence[int | None]) -> bool:
    """Say whether calls of a later round were made after all those of the one before."""
    last, at = -1, 0
    for calls in question.calls:
        these = [number for number in rounds[at : at + len(calls)] if number is not None]
        at += len(calls)
        if these and min(these) <= last:
            return False
        last = max([last, *these])
    return True


def equals(wanted: Any, found: Any) -> bool:
    """Say whether an argument has the value that is wanted.

    >>> equals({"any": [1, "one"]}, 1), equals({"has": "Wall"}, "the Great Wall"), equals(1, True)
    (True, True, False)
    """
    if isinstance(wanted, dict) and set(wanted) in ({"any"}, {"optional"}):
        return any(equals(each, found) for (among,) in [wanted.values()] for each in among)
    if isinstance(wanted, dict) and set(wanted) == {"has"}:
        return isinstance(found, str) and holds(found, str(wanted["has"]))
    return isinstance(wanted, bool) == isinstance(found, bool) and bool(wanted == found)


def _values(call: Expected, made: Made) -> int:
    found = made.values or {}
    return sum(key in found and equals(value, found[key]) for key, value in call.needed.items())


def _exact(call: Expected, made: Made) -> bool:
    """Say whether a call is what is wanted: every value, and no argument but those."""
    found = made.values
    if call.name != made.name or found is None or not set(call.needed) <= set(found):
        return False
    return all(key in call.arguments and equals(call.arguments[key], found[key]) for key in found)


def _complete(made: Made, offered: Offered) -> bool:
    return (
        made.values is not None
        and made.name in offered
        and complete({"arguments": made.values}, offered[made.name])
    )


def holds_all(answer: str, wanted: Sequence[str | list[str]]) -> bool:
    """Say whether an answer has every text, of a list of texts one."""
    return all(
        any(holds(answer, text) for text in ([each] if isinstance(each, str) else each)) for each in wanted
    )


def holds(text: str, part: str) -> bool:
    """Say whether a text has a part, as words and numbers of their own; a number's sign is part of it.

    >>> holds("It is 1,234 m.", "1234 M"), holds("in 2031", "31"), holds("有雪，最高8度", "8")
    (True, False, True)
    >>> holds("It is -5.", "5"), holds("2-5 days", "5"), holds("零下：−5度", "-5")
    (False, True, True)
    """
    text, part = plain(text), plain(part)
    before = r"(?<![a-z0-9])(?<!\d\.)" if re.match("[a-z0-9]", part) else ""
    before += r"(?<![^a-z0-9)°%度]-)(?<!^-)" if re.match("[0-9]", part) else ""
    after = (
        r"(?![a-z0-9]|\.\d)"
        if re.search("[0-9]$", part)
        else "(?![a-z0-9])"
        if re.search("[a-z]$", part)
        else ""
    )
    return re.search(before + re.escape(part) + after, text) is not None


def plain(text: str) -> str:
    """Return a text without differences that mean nothing: width, case, space, minus, commas in numbers."""
    text = " ".join(unicodedata.normalize("NFKC", text).casefold().replace("−", "-").split())
    return re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
