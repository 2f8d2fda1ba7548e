"""What was measured as one JSON object, for programs and for a second look at every case.

{"format": 1, "complete": true, "model": {...}, "settings": {...},
 "metrics": {"all": {"detection": {"part": 5, "of": 5, "value": 1.0}, ...}, "lang": {"zh": ...}, "kind": ...},
 "turns": {"all": {"spoken": 2.1, "needed": 2.0, "cases": 6}, ...},
 "cases": [{"id": ..., "messages": [...], "questions": [{"wanted": {...}, "calls": [...], "answer": "...",
                                                                  "verdict": {"called": true, ...}}]}]}
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from danlu.evaluate.tools.judge import Verdict
from danlu.evaluate.tools.metrics import Judged, Share, measured, turns
from danlu.evaluate.tools.play import Played
from danlu.evaluate.tools.talk import Exchange

FORMAT = 1
GROUPS: dict[str, Callable[[Played], str]] = {
    "lang": lambda played: played.case.lang,
    "kind": lambda played: played.case.kind,
}
"""By what cases are told apart."""


def groups(played: Sequence[Played], by: str) -> dict[str, list[Judged]]:
    """Return the verdicts of cases that are alike, those without a name left out."""
    found: dict[str, list[Judged]] = {}
    for each in played:
        if name := GROUPS[by](each):
            found.setdefault(name, []).append(each.verdicts)
    return found


def report(
    played: Sequence[Played], total: int, model: dict[str, Any], settings: dict[str, Any], problem: str = ""
) -> dict[str, Any]:
    """Return everything."""
    everything: list[Judged] = [each.verdicts for each in played]
    parts = {by: groups(played, by) for by in GROUPS}
    return {
        "format": FORMAT,
        "complete": not problem and len(played) == total,
        **({"problem": problem} if problem else {}),
        "model": model,
        "settings": {**settings, "cases": total},
        "metrics": {
            "all": _shares(everything),
            **{by: {name: _shares(judged) for name, judged in part.items()} for by, part in parts.items()},
        },
        "turns": {
            "all": _turns(everything),
            **{by: {name: _turns(judged) for name, judged in part.items()} for by, part in parts.items()},
        },
        "cases": [_case(each) for each in played],
    }


def _shares(judged: Sequence[Judged]) -> dict[str, Any]:
    return {name: _share(share) for name, share in measured(judged).items()}


def _share(share: Share) -> dict[str, Any]:
    return {"part": share.part, "of": share.of, "value": share.value}


def _turns(judged: Sequence[Judged]) -> dict[str, Any]:
    spoken, needed = turns(judged)
    return {"spoken": spoken.value, "needed": needed.value, "cases": spoken.of}


def _case(played: Played) -> dict[str, Any]:
    case = played.case
    exchanges = itertools.chain(played.exchanges, itertools.repeat(None))
    return {
        "id": case.id,
        "lang": case.lang,
        "kind": case.kind,
        "well": all(verdict.well for verdict in played.verdicts),
        **({"refused": played.refused} if played.refused else {}),
        "tools": [tool["function"]["name"] for tool in played.offered],
        "messages": played.messages,
        "questions": [
            _question(question.model_dump(exclude_defaults=True), exchange, verdict)
            for question, exchange, verdict in zip(case.questions, exchanges, played.verdicts)
        ],
    }


def _question(wanted: dict[str, Any], exchange: Exchange | None, verdict: Verdict) -> dict[str, Any]:
    return {
        "wanted": wanted,
        "calls": [asdict(call) for call in exchange.calls] if exchange else [],
        "answer": exchange.answer if exchange else None,
        "verdict": {**asdict(verdict), "exact": verdict.exact, "well": verdict.well},
    }
