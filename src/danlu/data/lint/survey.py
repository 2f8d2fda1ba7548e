"""One pass over rows: what they are, what is wrong with them, and what is odd.

    survey = Survey(options, tokenizer, findings)
    survey.read(paths)                  the rows that are asked about
    survey.read(paths, against=True)    rows that must not be among them
    survey.finish()                     duplicates, and rows far from the others

Rows are encoded some hundreds at a time. Of a row stay its length, two hashes and a signature.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from danlu.data.formats import Format, Reading
from danlu.data.lint import walk
from danlu.data.lint.characters import strange, typed_control
from danlu.data.lint.findings import BAD, REMARK, Finding, Findings, kind_of
from danlu.data.lint.lengths import Lengths
from danlu.data.lint.measure import Measured, measure
from danlu.data.lint.mojibake import trouble
from danlu.data.lint.pulse import Pulse
from danlu.data.lint.repeats import Repeats
from danlu.data.lint.walk import Met
from danlu.data.records import PURPOSES, Record, dialogues, recognise, texts
from danlu.data.rows import BadRow
from danlu.data.sources import Source
from danlu.tokenizer.tokenizer import Tokenizer

TOGETHER, CHARACTERS = 512, 1 << 20  # rows, and their characters, encoded at a time


class Options(NamedTuple):
    """What the user asked for."""

    purpose: str | None = None
    seq_len: int | None = None
    reading: Reading = Reading()


class Survey:
    """All that is known of some rows."""

    def __init__(self, options: Options, tokenizer: Tokenizer, findings: Findings) -> None:
        self.options, self.tokenizer, self.findings = options, tokenizer, findings
        self.files: list[str] = []
        self.rows = self.bad = self.against = self.nothing = 0
        self.shapes: Counter[str] = Counter()
        self.serves: dict[str, list[str]] = {}
        """What the rows of each shape can be used for, where nothing was asked for."""
        self.unsaid: set[tuple[str, int, str]] = set()
        """File, line and item of rows that the tokenizer's template cannot say."""
        self.on_bad: Callable[[Met, BadRow], None] | None = None
        self.lengths = Lengths()
        self.repeats = Repeats()
        self._waiting: list[tuple[Met, Record, str]] = []
        self._characters = 0
        self._typed = typed_control(tokenizer.control)
        self._pulse = Pulse()

    def read(self, paths: Sequence[str | Path], against: bool = False) -> None:
        """Read all rows of some files."""
        if against:
            self.repeats.close()
        for opened in walk.files(paths, self.options.purpose, self.options.reading):
            if isinstance(opened, Finding):
                self.findings.add(opened)
            else:
                self._file(*opened, self._compared if against else self._asked)
                self.files += [] if against else [str(opened[1].path)]
        self._measure()

    def _file(self, source: Source, file: Format, take: Callable[[Met], None]) -> None:
        self.repeats.begin(str(file.path))
        for met in walk.rows(source, file):
            if isinstance(met, Finding):
                self.findings.add(met)
            else:
                take(met)
                self._pulse.beat("{:,} rows read, {:,} of them bad", self.rows + self.against, self.bad)

    def _compared(self, met: Met) -> None:
        self.against += 1
        if not isinstance(met.record, BadRow):
            self.repeats.add(met.line, met.record, met.value)

    def _asked(self, met: Met) -> None:
        self.rows += 1
        if isinstance(met.record, BadRow):
            self._refused(met, met.record)
            return
        self.shapes[met.shape] += 1
        if self.options.purpose is None and met.shape not in self.serves:
            self.serves[met.shape] = [purpose for purpose in PURPOSES if _serves(met.value, purpose)]
        self.repeats.add(met.line, met.record, met.value)
        self._look(met, met.record)
        text = "".join(texts(met.record))
        self._waiting.append((met, met.record, text))
        self._characters += len(text)
        if len(self._waiting) >= TOGETHER or self._characters >= CHARACTERS:
            self._measure()

    def _refused(self, met: Met, bad: BadRow) -> None:
        self.bad += 1
        self._find(met, BAD, kind_of(bad.field, bad.problem), bad.problem, bad.hint, bad.field)
        if self.on_bad is not None:
            self.on_bad(met, bad)

    def _look(self, met: Met, record: Record) -> None:
        """Find what is odd in the texts of a row: each kind once."""
        found: dict[str, tuple[str, str]] = {}
        for text in texts(record):
            for name, what, remedy in strange(text):
                found.setdefault(name, (what, remedy))
            if wrong := trouble(text):
                found.setdefault("mojibake", _mojibake(*wrong))
            if typed := self._typed.search(text):
                what = f"holds {typed[0]} as text: not control here, but other servers may take it so"
                found.setdefault("typed control tokens", (what, "write it differently, if it is not meant"))
        for kind, (what, remedy) in found.items():
            self._find(met, REMARK, kind, what, remedy)

    def _measure(self) -> None:
        """Encode the rows that wait."""
        waiting, self._waiting, self._characters = self._waiting, [], 0
        measured = measure(self.tokenizer, [record for _, record, _ in waiting], self.options.seq_len)
        for (met, record, text), one in zip(waiting, measured):
            self.lengths.add(text, one)
            self._judge(met, record, one)

    def _judge(self, met: Met, record: Record, one: Measured) -> None:
        if one.problem is not None:
            self._refused(met, BadRow(met.item, one.problem.problem, one.problem.hint))
            self.unsaid.add((met.file, met.line, met.item))
        elif one.learned == 0:
            self.nothing += 1
            self._find(
                met, REMARK, "nothing learned", "teaches nothing", "let an answer count, or drop the row"
            )
        elif one.cut and any(dialogues(record)):
            lost = f", with {one.lost:,} learned ones" if one.lost else ""
            what = f"{one.tokens:,} tokens do not fit into --seq-len {self.options.seq_len}{lost}"
            self._find(met, REMARK, "too long", what, "a longer seq_len, or a shorter row")

    def finish(self) -> None:
        """Find what only all rows together tell."""
        for row, tokens, median in self.lengths.outliers():
            file, line = self.repeats.places[row]
            how = "short" if tokens < median else "long"
            what = f"is very {how}: {tokens:,} tokens, where the median is {median:,}"
            self.findings.add(Finding(REMARK, f"very {how}", file, line, "", what, "look at the row"))
        for finding in self.repeats.findings():
            self.findings.add(finding)

    def _find(self, met: Met, severity: str, kind: str, what: str, remedy: str, field: str = "") -> None:
        self.findings.add(Finding(severity, kind, met.file, met.line, field or met.item, what, remedy))


def _mojibake(wrong: str, was: str) -> tuple[str, str]:
    if was == "\ufffd":
        return f"'{wrong}' stands for characters that an earlier conversion lost", "convert the source again"
    return (
        f"'{wrong[:20]}' was '{was[:20]}', read with the wrong encoding",
        "--fix turns back what is certain",
    )


def _serves(value: Any, purpose: str) -> bool:
    try:
        recognise(value, purpose)
    except BadRow:
        return False
    return True
