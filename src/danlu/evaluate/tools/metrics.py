"""Shares over many cases, each as how many of how many. Nothing of nothing is none, never all.

A *question* is one thing a person says. It should be answered with calls, or without any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from danlu.base.errors import UserError, nearest
from danlu.evaluate.tools.judge import Verdict

Judged = Sequence[Verdict]
"""The verdicts on one case's questions."""


@dataclass(frozen=True)
class Share:
    """So many of so many."""

    part: int
    of: int

    @property
    def value(self) -> float | None:
        """The share, None where there is nothing to share."""
        return self.part / self.of if self.of else None


def questions(cases: Iterable[Judged], of: Callable[[Verdict], bool]) -> list[Verdict]:
    """Return the verdicts that count."""
    return [verdict for case in cases for verdict in case if of(verdict)]


def _share(counts: Callable[[Verdict], bool], good: Callable[[Verdict], bool | None]) -> Callable[..., Share]:
    def share(cases: Sequence[Judged]) -> Share:
        counted = questions(cases, counts)
        return Share(sum(bool(good(verdict)) for verdict in counted), len(counted))

    return share


def _values(cases: Sequence[Judged]) -> Share:
    verdicts = [verdict for case in cases for verdict in case]
    return Share(sum(each.right_values for each in verdicts), sum(each.values for each in verdicts))


def _recovery(cases: Sequence[Judged]) -> Share:
    met = [case for case in cases if any(verdict.failed for verdict in case)]
    return Share(
        sum(
            all(each.right for each in case if each.wanted) and case[-1].answered is not False for case in met
        ),
        len(met),
    )


def _whole(cases: Sequence[Judged]) -> Share:
    return Share(sum(all(verdict.well for verdict in case) for case in cases), len(cases))


def _should(verdict: Verdict) -> bool:
    return verdict.wanted > 0


def _did(verdict: Verdict) -> bool:
    return verdict.wanted > 0 and verdict.called


METRICS: dict[str, Callable[[Sequence[Judged]], Share]] = {
    "detection": _share(_should, lambda verdict: verdict.called),
    "selection": _share(_did, lambda verdict: verdict.selected),
    "json": _share(_did, lambda verdict: verdict.valid),
    "arguments": _share(_did, lambda verdict: verdict.complete),
    "no_call": _share(
        lambda verdict: not verdict.wanted, lambda verdict: verdict.asked and not verdict.called
    ),
    "multi_call": _share(lambda verdict: verdict.wanted > 1, lambda verdict: verdict.exact),
    "values": _values,
    "recovery": _recovery,
    "answer": _share(lambda verdict: verdict.answered is not None, lambda verdict: verdict.answered),
    "whole": _whole,
}
"""
    detection   of questions that need a call: something was called
    selection   of those that called: the wanted tools, and no others
    json        of those that called: all arguments are JSON objects
    arguments   of those that called: no argument is missing that a tool requires
    no_call     of questions that need no call: nothing was called
    multi_call  of questions that need several calls: all right, in order, and none too many
    values      of all wanted arguments: their values are exactly right
    recovery    of cases in which a tool failed: in the end all wanted calls are right, and the answer
    answer      of answers that must tell something: they do
    whole       of cases: nothing at all is wrong
"""


def measured(cases: Sequence[Judged]) -> dict[str, Share]:
    """Return every metric of some cases."""
    return {name: count(cases) for name, count in METRICS.items()}


def turns(cases: Sequence[Judged]) -> tuple[Share, Share]:
    """Return how often the model spoke, and had to, a case; those never answered do not count."""
    played = [case for case in cases if all(verdict.asked for verdict in case)]
    spoken, needed = (sum(getattr(v, key) for case in played for v in case) for key in ("turns", "needed"))
    return Share(spoken, len(played)), Share(needed, len(played))


def demands(text: str) -> dict[str, float]:
    """Return what `--min` demands.

    >>> demands("detection=0.95,json=1")
    {'detection': 0.95, 'json': 1.0}
    """
    wanted: dict[str, float] = {}
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = word.partition("=")
        if name not in METRICS:
            raise UserError(f"--min: there is no metric '{name}'", nearest(name, METRICS))
        try:
            wanted[name] = float(value)
        except ValueError:
            wanted[name] = -1.0
        if not 0 <= wanted[name] <= 1:
            raise UserError(f"--min: {word}: not a share from 0 to 1", f"{name}=0.95")
    return wanted


def below(shares: dict[str, Share], wanted: dict[str, float]) -> list[str]:
    """Return what falls short of what is demanded, in words."""
    short = []
    for name, least in wanted.items():
        value = shares[name].value
        if value is None or value < least:
            found = "none" if value is None else f"{value:.4f}"
            short.append(f"{name} is {found} ({shares[name].part} of {shares[name].of}), not {least:g}")
    return short
