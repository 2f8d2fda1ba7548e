"""What was found: each with its place, what is wrong, and what to do; any number of them.

A finding is bad if training refuses the row, else a remark. The first few of each kind stay in memory
to be shown, all of them go to a temporary file, so that millions cost nothing.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

BAD, REMARK = "bad", "remark"
PARTICULAR = re.compile(r"'[^']*'|\"[^\"]*\"|\d[\d,.]*")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or odd."""

    severity: str
    kind: str
    file: str
    line: int
    """Line or row number from 1; 0 for the whole file."""
    field: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.what}" + (f"; {self.remedy}" if self.remedy else "")

    @property
    def what(self) -> str:
        """The problem after its field."""
        return f"{self.field}: {self.problem}" if self.field else self.problem


def kind_of(field: str, problem: str) -> str:
    """Return what a problem has in common with others of its kind.

    >>> kind_of("messages[3].role", "found 'bot'")
    'messages[].role: found ...'
    """
    field = re.sub(r"\[\d+\]", "[]", field)
    return (f"{field}: " if field else "") + PARTICULAR.sub("...", problem)


class Findings:
    """All that was found."""

    def __init__(self, kept: Mapping[str, int]) -> None:
        self.kept = kept
        """How many of each kind stay in memory, by severity; 0: all."""
        self.counts: Counter[tuple[str, str]] = Counter()
        """How many there are, by severity and kind."""
        self.first: dict[tuple[str, str], list[Finding]] = {}
        self._all = tempfile.TemporaryFile("w+", encoding="utf-8")

    def add(self, finding: Finding) -> bool:
        """Take a finding in; return whether it is among those to be shown."""
        key = finding.severity, finding.kind
        self.counts[key] += 1
        self._all.write(json.dumps(asdict(finding), ensure_ascii=False) + "\n")
        kept = self.kept[finding.severity]
        shown = not kept or self.counts[key] <= kept
        if shown:
            self.first.setdefault(key, []).append(finding)
        return shown

    def count(self, severity: str) -> int:
        """Return how many findings there are of a severity."""
        return sum(number for (each, _), number in self.counts.items() if each == severity)

    def kinds(self, severity: str) -> Iterator[tuple[str, list[Finding], int]]:
        """Yield each kind of a severity: its name, those to be shown, and how many there are."""
        for (each, kind), number in self.counts.items():
            if each == severity:
                yield kind, self.first[each, kind], number

    def lines(self) -> Iterator[str]:
        """Yield every finding as JSON."""
        self._all.seek(0)
        for line in self._all:
            yield line.rstrip("\n")
        self._all.seek(0, 2)
