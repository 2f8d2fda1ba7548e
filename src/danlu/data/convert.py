"""Rows of any known shape, written as rows of ours: read, measured, mixed and written as they come.

    found -> bad? -> too long? -> row -> with ordinary rows between -> the file, whole or not at all

Everything streams: one part of the rows is in memory, whatever the size of the files. Of the ordinary
rows mixed in, ROOM are held, and drawn from by the seed.
"""

from __future__ import annotations

import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from danlu.base.errors import UserError
from danlu.base.log import say
from danlu.base.paths import need_writable, whole_file
from danlu.data.canonical import flat_row_of, row_of
from danlu.data.records import Dialogue, Prompt, Record, Tokens, dialogues, texts
from danlu.data.rows import BadRow
from danlu.data.sources import Found, Source
from danlu.tokenizer.chat import encode_chats
from danlu.tokenizer.tokenizer import Tokenizer

TOGETHER = 256  # rows measured at a time
ROOM = 4096  # ordinary rows held to draw from
PATIENCE = 10.0  # seconds between two lines that say how far it is
NAMED = 3  # bad rows that are named; the others are counted


Sieve = Callable[[Found], tuple[str, str] | None]
"""What rows like this one do, in words that follow a count, and what this one does; None: it is kept."""


@dataclass(frozen=True)
class Wish:
    """What is wanted of the rows."""

    tokenizer: Tokenizer | None = None
    """Whose tokens and template count; needed for the next two."""
    max_tokens: int | None = None
    flat: bool = False
    """Whether tools are written out in the system text."""
    max_rows: int | None = None
    skip_bad: bool = False
    mix_ratio: float = 0.0
    """How many ordinary rows for each converted one."""
    seed: int = 42
    sieve: Sieve | None = None
    """Tells what a row is left out for, if it is."""
    named: int = NAMED
    """How many rows left out are named."""


@dataclass
class Counts:
    """What happened on the way."""

    read: int = 0
    written: int = 0
    mixed: int = 0
    wanted: int = 0
    """Ordinary rows that the ratio asked for."""
    too_long: int = 0
    inferred: int = 0
    bad: int = 0
    named: list[str] = field(default_factory=list)
    """The first bad rows, in words."""
    shapes: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    """By what is the matter with them."""
    left_named: list[str] = field(default_factory=list)

    def join(self, beside: Counts) -> None:
        """Add what was left out of the ordinary rows."""
        self.bad += beside.bad
        self.too_long += beside.too_long
        self.named += beside.named[: NAMED - len(self.named)]

    def lines(self, wish: Wish) -> Iterator[str]:
        """Yield what the user should know."""
        yield from (f"found: {shape}, {count:,} rows" for shape, count in self.shapes.items())
        yield f"{self.read:,} rows read, {self.written:,} written"
        if self.mixed or self.wanted:
            missing = f"; {self.wanted:,} were asked for, there are no more" * (self.mixed < self.wanted)
            yield f"{self.mixed:,} ordinary rows mixed in{missing}"
        if self.too_long and wish.tokenizer:
            yield f"{self.too_long:,} rows are longer than {wish.max_tokens:,} tokens and left out"
        if self.inferred:
            yield f"{self.inferred:,} chats have no tools written down; their schemas are told from the calls"
        if self.bad:
            yield f"{self.bad:,} bad rows left out, the first:"
            yield from self.named
        if self.left_out:
            yield from (
                f"{count:,} rows {matter}, and are left out" for matter, count in self.left_out.items()
            )
            yield from self.left_named


def convert(source: Source, out: Path, wish: Wish, ordinary: Source | None = None) -> Counts:
    """Write the rows of a source as rows of ours, with ordinary ones between; return what happened."""
    need_writable(out.parent)
    counts, beside = Counts(), Counts()
    rows = _counted(itertools.islice(converted(source, wish, counts), wish.max_rows), counts)
    if ordinary is not None:
        rows = _mixed(rows, converted(ordinary, replace(wish, sieve=None), beside), wish, counts)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(out) as file:
            file.writelines(f"{row}\n" for row in rows)
            if not counts.written:
                raise UserError(f"no row is left to write: {_why(counts)}", "danlu data check shows them")
    except OSError as error:
        raise UserError(f"{out}: {error.strerror}", "free some space, or choose another folder") from None
    counts.join(beside)
    return counts


def _why(counts: Counts) -> str:
    if told := counts.named or counts.left_named:
        return told[0]
    return f"{counts.too_long:,} of {counts.read:,} rows are too long"


def _counted(rows: Iterator[str], counts: Counts) -> Iterator[str]:
    for row in rows:
        counts.written += 1
        yield row


def converted(source: Source, wish: Wish, counts: Counts) -> Iterator[str]:
    """Yield the rows of a source as lines of JSON."""
    every, told = source.found(), time.monotonic()
    while part := list(itertools.islice(every, TOGETHER)):
        measured = lengths([each.record for each in part], wish)
        for found, length in zip(part, measured):
            counts.read += 1
            try:
                if isinstance(length, BadRow):
                    raise length
                if wish.sieve and (matter := wish.sieve(found)):
                    _leave_out(source, found.row, *matter, wish, counts)
                elif wish.max_tokens and length > wish.max_tokens:
                    counts.too_long += 1
                else:
                    row = _line(found, wish)
                    _note(found, counts)
                    yield row
            except BadRow as bad:
                _refuse(source, found.row, bad, wish, counts)
        if time.monotonic() - told > PATIENCE:
            told = time.monotonic()
            say(f"{counts.read:,} rows read")


def _line(found: Found, wish: Wish) -> str:
    record = found.record
    assert not isinstance(record, BadRow)
    row = flat_row_of(record, wish.tokenizer) if wish.flat and wish.tokenizer else row_of(record)
    return json.dumps(row, ensure_ascii=False)


def _note(found: Found, counts: Counts) -> None:
    counts.shapes[found.shape] += 1
    counts.inferred += isinstance(found.record, Dialogue) and found.record.inferred


def _refuse(source: Source, row: int, bad: BadRow, wish: Wish, counts: Counts) -> None:
    """Raise a bad row, or count it and name the first ones."""
    if not wish.skip_bad:
        raise source.error(row, bad) from None
    counts.bad += 1
    if len(counts.named) < wish.named:
        counts.named.append(f"{source.where(row)}: {bad}")


def _leave_out(source: Source, row: int, matter: str, detail: str, wish: Wish, counts: Counts) -> None:
    """Count a row that the sieve holds back, and name the first ones."""
    counts.left_out[matter] += 1
    if len(counts.left_named) < wish.named:
        counts.left_named.append(f"{source.where(row)}: {detail}")


def lengths(records: Sequence[Record | BadRow], wish: Wish) -> list[int | BadRow]:
    """Return each record's length in tokens, 0 if nobody asks; what is bad stays what it is.

    Where one chat is refused by the template, the others are measured one by one.
    """
    good = [record for record in records if not isinstance(record, BadRow)]
    if wish.max_tokens is None or wish.tokenizer is None:
        measured: Iterator[int | BadRow] = itertools.repeat(0)
    else:
        try:
            measured = iter(_lengths(good, wish.tokenizer))
        except UserError:
            measured = iter([_length(record, wish.tokenizer) for record in good])
    return [record if isinstance(record, BadRow) else next(measured) for record in records]


def _length(record: Record, tokenizer: Tokenizer) -> int | BadRow:
    try:
        return _lengths([record], tokenizer)[0]
    except UserError as error:
        return BadRow("", error.problem, error.hint)


def _lengths(records: Sequence[Record], tokenizer: Tokenizer) -> list[int]:
    """Return lengths as training reads them: the longer one of two chats, a prompt with its invitation."""
    sizes = [len(record.ids) if isinstance(record, Tokens) else 0 for record in records]
    ends = len(tokenizer.beginning()) + 1
    said = [(i, text) for i, each in enumerate(records) if not any(dialogues(each)) for text in texts(each)]
    for (i, _), ids in zip(said, tokenizer.encode_many([text for _, text in said])):
        sizes[i] = max(sizes[i], len(ids) + ends)
    for invited in (False, True):
        chosen = [(i, each) for i, each in enumerate(records) if isinstance(each, Prompt) == invited]
        chats = [(i, chat) for i, each in chosen for chat in dialogues(each)]
        encoded = encode_chats(tokenizer, [(chat.messages, chat.tools) for _, chat in chats], invited)
        for (i, _), chat in zip(chats, encoded):
            sizes[i] = max(sizes[i], len(chat.ids))
    return sizes


def _mixed(rows: Iterator[str], others: Iterator[str], wish: Wish, counts: Counts) -> Iterator[str]:
    """Yield rows, and after each as many ordinary ones as the ratio owes by then."""
    ratio = Fraction(str(wish.mix_ratio))
    drawn = _drawn(others, random.Random(wish.seed))
    for number, row in enumerate(rows, 1):
        yield row
        owed = int(ratio * number) - counts.wanted
        counts.wanted += owed
        for other in itertools.islice(drawn, owed):
            counts.mixed += 1
            yield other


def _drawn(rows: Iterator[str], chance: random.Random) -> Iterator[str]:
    """Yield rows in an order that the seed decides, holding ROOM of them."""
    held = list(itertools.islice(rows, ROOM))
    chance.shuffle(held)
    for row in rows:
        place = chance.randrange(len(held))
        held[place], row = row, held[place]
        yield row
    yield from held
