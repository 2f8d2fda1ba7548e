"""What known failures of drivers, containers, torch and vLLM mean, from configs/failures.yaml.

    for found in explain(lines(log.read_text())):
        found.failure.name                "cann_207001"
        found.count, found.number         how often it was said, and in which line first
        found.failure.cause("zh")         what it means
        found.failure.next("zh")          what to do

launch/explain.sh tells the same of the same file where there is no Python; `python -m danlu.device.failures`
prints the table of docs/failures.md.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass

import yaml

from danlu.base import paths

COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
TITLES = {"en": ("Name", "Meaning", "Next"), "zh": ("名称", "含义", "下一步")}


@dataclass(frozen=True)
class Failure:
    """One known failure."""

    name: str
    texts: dict[str, str]
    """What the file says of it: pattern, sample, cause, cause_zh, next, next_zh, from, vague."""

    @functools.cached_property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(self.texts["pattern"])

    @property
    def vague(self) -> bool:
        """Whether it says that something failed, but not what."""
        return "vague" in self.texts

    def cause(self, language: str = "en") -> str:
        return self.texts["cause_zh" if language == "zh" else "cause"]

    def next(self, language: str = "en") -> str:
        return self.texts["next_zh" if language == "zh" else "next"]


@dataclass
class Finding:
    """A known failure in a log."""

    failure: Failure
    line: str
    """The first line that tells it."""
    number: int
    """Which line that is, from 1."""
    count: int = 1
    """How many lines tell it."""


@functools.cache
def known() -> tuple[Failure, ...]:
    """Return every known failure, in the order of the file."""
    text = (paths.configs() / "failures.yaml").read_text(encoding="utf-8")
    return tuple(Failure(name, texts) for name, texts in yaml.safe_load(text).items())


@functools.cache
def _any() -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{failure.texts['pattern']})" for failure in known()))


def lines(text: str) -> list[str]:
    """Return a log's lines; what was written over is one of its own.

    >>> lines("  1%\\r  2%\\nerror")
    ['  1%', '  2%', 'error']
    """
    return re.split(r"[\r\n\0]", text)


def explain(log: Iterable[str]) -> list[Finding]:
    """Return the known failures among a log's lines in the order of appearance, those last that say little.

    >>> [found.failure.name for found in explain(["step 1", "OSError: [Errno 28] No space left on device"])]
    ['disk_full']
    """
    found: dict[str, Finding] = {}
    for number, line in enumerate(log, 1):
        line = COLOUR.sub("", line)
        if not _any().search(line):
            continue
        failure = next(one for one in known() if one.pattern.search(line))
        if failure.name in found:
            found[failure.name].count += 1
        else:
            found[failure.name] = Finding(failure, line, number)
    return sorted(found.values(), key=lambda finding: finding.failure.vague)


def table(language: str = "en") -> str:
    """Return all of them as a table for the documentation."""
    rows = [TITLES[language], ("---",) * 3]
    rows += [(f"`{one.name}`", _cell(one.cause(language)), _cell(one.next(language))) for one in known()]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cell(text: str) -> str:
    """Return text in which nothing means anything to Markdown."""
    return re.sub(r"[|*]", r"\\\g<0>", text)


if __name__ == "__main__":
    sys.stdout.write(table(*sys.argv[1:]))
