"""What a survey found: lines for a person, or one JSON object."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from danlu.data.lint.findings import BAD, REMARK
from danlu.data.lint.mending import Mended
from danlu.data.lint.repeats import EQUAL, LEAKED, LEAKED_NEARLY, NEAR
from danlu.data.lint.survey import Survey

BAR = 40  # signs of the longest bar


def lines(survey: Survey, strict: bool, mended: Sequence[Mended] = ()) -> Iterator[str]:
    """Yield the report: what is bad, what is odd, what the rows are, the summary."""
    yield from _found(survey, BAD)
    yield from _found(survey, REMARK)
    yield from _shapes(survey)
    if survey.repeats.counts:
        yield "repeated: " + _repeats(survey)
    yield from _lengths(survey)
    for one in mended:
        yield from one.lines()
    yield _summary(survey, strict)


def code(survey: Survey, strict: bool) -> int:
    """Return the exit code: 1 if training would refuse something, or (strict) anything is odd."""
    findings = survey.findings
    return int(bool(findings.count(BAD) or (strict and findings.count(REMARK))))


def _found(survey: Survey, severity: str) -> Iterator[str]:
    for kind, shown, number in survey.findings.kinds(severity):
        if severity == REMARK:
            yield f"remark: {kind}: {number:,}"
        for finding in shown:
            yield f"  {finding}" if severity == REMARK else str(finding)
        if number > len(shown):
            yield f"  ... and {number - len(shown):,} more of '{kind}': --limit 0 shows all, --json lists all"


def _shapes(survey: Survey) -> Iterator[str]:
    for shape, number in survey.shapes.most_common():
        purposes = survey.serves.get(shape, [])
        several = f"; they serve {', '.join(purposes)}: say which with --for" if len(purposes) > 1 else ""
        yield f"found: {shape}, {number:,} rows{several}"


def _repeats(survey: Survey) -> str:
    words = {
        EQUAL: "equal another row",
        NEAR: "nearly equal another row",
        LEAKED: f"of {survey.against:,} rows of --against are in the data",
        LEAKED_NEARLY: f"of {survey.against:,} rows of --against are nearly in the data",
    }
    return ", ".join(
        f"{survey.repeats.counts[kind]:,} {words[kind]}" for kind in words if survey.repeats.counts[kind]
    )


def _lengths(survey: Survey) -> Iterator[str]:
    sums, seq_len = survey.lengths.sums(), survey.options.seq_len
    if not sums["total"]:
        return
    learned = "" if sums["learned"] is None else f", {sums['learned']:,} learned"
    yield f"tokens: {sums['total']:,} ({survey.tokenizer.name}){learned}"
    words = {"": "all"}
    ratios = survey.lengths.per_token().items()
    yield "characters said per token: " + ", ".join(
        f"{words.get(name, name)} {ratio:.2f}" for name, ratio in ratios
    )
    yield f"tokens of a row: {sums['shortest']:,} to {sums['longest']:,}, median {sums['median']:,}"
    yield from _histogram(survey)
    if seq_len:
        longer = survey.lengths.cut
        share = longer / sum(survey.shapes.values())
        lost = f"; {survey.lengths.lost:,} learned tokens are cut off" if survey.lengths.lost else ""
        yield f"longer than --seq-len {seq_len}: {longer:,} rows, {share:.1%}{lost}"


def _histogram(survey: Survey) -> Iterator[str]:
    buckets = survey.lengths.histogram()
    most = max((number for *_, number in buckets), default=1)
    wide = len(f"{buckets[-1][1]:,}") if buckets else 0
    for first, last, number in buckets:
        bar = "█" * -(-number * BAR // most)
        yield f"  {first:>{wide},} to {last:>{wide},}  {number:>9,}  {bar}".rstrip()


def _summary(survey: Survey, strict: bool) -> str:
    bad, remarks = survey.findings.count(BAD), survey.findings.count(REMARK)
    counts = f"{survey.rows:,} rows, {bad:,} bad, {remarks:,} remarks"
    if bad:
        return f"{counts}: training refuses this; exit code 1"
    if strict and remarks:
        return f"{counts}: nothing bad, but --strict counts remarks; exit code 1"
    return f"{counts}: nothing bad; exit code 0"


def as_json(survey: Survey, strict: bool, mended: Sequence[Mended] = ()) -> Iterator[str]:
    """Yield one JSON object, in pieces: the findings, which may be many, come last."""
    numbers = _numbers(survey, strict) | {"mended": [asdict(one) for one in mended]}
    head = json.dumps(numbers, ensure_ascii=False, indent=1)
    yield head[:-2] + ',\n "findings": ['
    before = "\n  "
    for line in survey.findings.lines():
        yield before + line
        before = ",\n  "
    yield "\n ]\n}\n"


def _numbers(survey: Survey, strict: bool) -> dict[str, Any]:
    lengths, seq_len = survey.lengths, survey.options.seq_len
    per_token = lengths.per_token()
    return {
        "files": survey.files,
        "purpose": survey.options.purpose,
        "tokenizer": survey.tokenizer.name,
        "rows": survey.rows,
        "bad": survey.findings.count(BAD),
        "remarks": survey.findings.count(REMARK),
        "bad_rows": survey.bad,
        "against_rows": survey.against,
        "exit_code": code(survey, strict),
        "shapes": dict(survey.shapes),
        "serves": survey.serves,
        "counts": {
            severity: {kind: number for kind, _, number in survey.findings.kinds(severity)}
            for severity in (BAD, REMARK)
        },
        "repeated": dict(survey.repeats.counts),
        "tokens": lengths.sums() | {"lost": lengths.lost},
        "seq_len": seq_len,
        "longer_than_seq_len": lengths.cut if seq_len else None,
        "characters_per_token": {name or "all": round(ratio, 3) for name, ratio in per_token.items()},
        "histogram": [{"from": a, "to": b, "rows": number} for a, b, number in lengths.histogram()],
        "teach_nothing": survey.nothing,
    }
