"""What a tokenizer is worth, measured: how well it compresses, and whether text survives it.

    compression   characters and bytes a token, for Chinese, English, code and mixed text
    round trips   encode, then decode: emoji, code, odd signs, every plane of Unicode
    stream        one token at a time shows the same text, and never a broken character
    control       a control token that somebody types stays text

Byte-level vocabularies, and those with byte fallback, promise that every text comes back, up to the
normalisation they announce (NFC and the like). Others (WordPiece) promise nothing: what does not come
back is told, and is no failure. A text's kind is told from its signs: Chinese if most of its letters
are Han, code if brackets and operators are frequent, mixed if both scripts are.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from danlu.tokenizer.roundtrip import Trip, promises, trips
from danlu.tokenizer.tokenizer import Tokenizer

SAMPLES = Path(__file__).parent / "samples.txt"
KINDS = ("Chinese", "English", "code", "mixed")
TOGETHER = 512  # texts encoded at once
LONGEST = 10  # tokens shown
HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
LETTER = re.compile(r"[^\W\d_]")
CODE = re.compile(r"[{}()\[\]<>;=_\\/#*+|&$]|^[ \t]+\S", re.MULTILINE)


@dataclass
class Compression:
    """Sizes of the texts of one kind."""

    texts: int = 0
    characters: int = 0
    bytes: int = 0
    tokens: int = 0

    @property
    def characters_per_token(self) -> float:
        return self.characters / max(1, self.tokens)

    @property
    def bytes_per_token(self) -> float:
        return self.bytes / max(1, self.tokens)


@dataclass
class Report:
    """Everything measured of one tokenizer."""

    name: str
    size: int
    special: dict[str, int | None]
    """The ids that begin, end and pad a text."""
    control: int
    template: bool
    promised: bool
    """Whether every text must come back."""
    compression: dict[str, Compression] = field(default_factory=dict)
    unused: float | None = None
    """Share of the vocabulary that the user's texts never use; unknown without them."""
    trips: list[Trip] = field(default_factory=list)
    longest: list[str] = field(default_factory=list)

    @property
    def failures(self) -> list[Trip]:
        """The checks that failed though they must not."""
        return [trip for trip in self.trips if not trip.passed]

    def as_dict(self) -> dict[str, Any]:
        compression = {
            kind: asdict(measured)
            | {
                "characters_per_token": measured.characters_per_token,
                "bytes_per_token": measured.bytes_per_token,
            }
            for kind, measured in self.compression.items()
        }
        return asdict(self) | {"compression": compression, "failures": [trip.name for trip in self.failures]}


def measure(tokenizer: Tokenizer, texts: Iterable[str] | None = None) -> Report:
    """Return the report on a tokenizer, compression on `texts` or else on small samples of ours."""
    ids = {"bos": tokenizer.bos_id, "eos": tokenizer.eos_id, "pad": tokenizer.pad_id}
    report = Report(
        tokenizer.name, tokenizer.size, ids, len(tokenizer.control), tokenizer.template is not None,
        promises(tokenizer),
    )  # fmt: skip
    used = _compress(tokenizer, ((kind_of(text), text) for text in texts) if texts else samples(), report)
    if texts:
        report.unused = 1 - len(used) / tokenizer.size
    report.trips = list(trips(tokenizer))
    report.longest = longest(tokenizer)
    return report


def samples() -> Iterator[tuple[str, str]]:
    """Yield (kind, text) of our own samples."""
    for section in re.split(r"^== ", SAMPLES.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        kind, _, text = section.partition("\n")
        yield kind, text


def kind_of(text: str) -> str:
    """Return what kind of text this is, by its signs alone.

    >>> kind_of("今天天气很好。"), kind_of("a nice day"), kind_of("用 Python 写程序"), kind_of("x = f(y);")
    ('Chinese', 'English', 'mixed', 'code')
    """
    head = text[:4096]
    letters, han = len(LETTER.findall(head)), len(HAN.findall(head))
    if len(CODE.findall(head)) * 12 > len(head):
        return "code"
    if han * 10 >= letters * 7:
        return "Chinese" if han else "English"
    return "mixed" if han * 20 > letters else "English"


def _compress(tokenizer: Tokenizer, texts: Iterable[tuple[str, str]], report: Report) -> set[int]:
    """Measure texts of each kind, and return the tokens that were used."""
    used: set[int] = set()
    waiting: list[tuple[str, str]] = []

    def count() -> None:
        for (kind, text), ids in zip(waiting, tokenizer.encode_many([text for _, text in waiting])):
            sizes = report.compression.setdefault(kind, Compression())
            sizes.texts += 1
            sizes.characters += len(text)
            sizes.bytes += len(text.encode())
            sizes.tokens += len(ids)
            used.update(ids)
        waiting.clear()

    for pair in texts:
        waiting.append(pair)
        if len(waiting) == TOGETHER:
            count()
    count()
    report.compression = {kind: report.compression[kind] for kind in KINDS if kind in report.compression}
    return used


def longest(tokenizer: Tokenizer) -> list[str]:
    """Return the longest tokens that are text, as they would be printed."""
    lengths = Counter(dict(enumerate(tokenizer.byte_lengths)))
    return [tokenizer.decode([token]) for token, _ in lengths.most_common(LONGEST)]


def lines(report: Report) -> Iterator[str]:
    """Yield the report for a person."""
    ids = ", ".join(f"{name} {number}" for name, number in report.special.items() if number is not None)
    template = "a chat template" if report.template else "no chat template"
    yield f"{report.name}: {report.size:,} tokens, {report.control} of them control; {ids}; {template}"
    yield "kind       characters/token  bytes/token       tokens"
    for kind, sizes in report.compression.items():
        yield (
            f"{kind:<10} {sizes.characters_per_token:16.2f} {sizes.bytes_per_token:12.2f} {sizes.tokens:12,}"
        )
    if report.unused is not None:
        yield f"unused on these texts: {report.unused:.1%} of the tokens"
    yield "longest: " + " ".join(json.dumps(token, ensure_ascii=False) for token in report.longest)
    if not report.promised:
        yield "this kind of tokenizer does not promise that text comes back as it was"
    for trip in report.trips:
        judged = "FAIL" if not trip.passed else "note" if trip.note else "ok"
        yield f"{judged:<4} {trip.name}" + (f": {trip.note}" if trip.note else "")
