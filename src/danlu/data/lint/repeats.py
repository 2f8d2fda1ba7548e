"""Rows told twice: equal ones, nearly equal ones, ones that another set must not hold, and repeated ids."""

from __future__ import annotations

import hashlib
import json
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from danlu.data.lint.duplicates import Index, Twin
from danlu.data.lint.findings import REMARK, Finding
from danlu.data.records import Record, Tokens, dialogues, texts

EQUAL, NEAR, LEAKED, LEAKED_NEARLY = "equal rows", "nearly equal rows", "leaked rows", "nearly leaked rows"


class Places:
    """Where the rows of some files stand, by the order of adding: eight bytes a row."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._starts: list[int] = []
        self._lines = array("q")

    def begin(self, name: str) -> None:
        """Go on with another file."""
        self._names.append(name)
        self._starts.append(len(self._lines))

    def add(self, line: int) -> None:
        self._lines.append(line)

    def __getitem__(self, row: int) -> tuple[str, int]:
        """Return the file and the line of a row."""
        return self._names[bisect_right(self._starts, row) - 1], self._lines[row]


class Repeats:
    """Rows taken in to be compared: first those asked about, then those they must not be like."""

    def __init__(self) -> None:
        self.places = Places()
        self.counts: Counter[str] = Counter()
        self._index = Index()
        self._ids: list[int] = []
        self._closed = False

    def begin(self, name: str) -> None:
        """Go on with another file."""
        self.places.begin(name)

    def close(self) -> None:
        """End the rows asked about."""
        self._closed = True
        self._index.close()

    def add(self, line: int, record: Record, value: Any) -> None:
        """Take a row in."""
        self.places.add(line)
        self._index.add(_hash(held(record)), said(record))
        if not self._closed:
            name = value.get("id") if isinstance(value, dict) else None
            told = isinstance(name, (str, int)) and not isinstance(name, bool)
            self._ids.append(_hash(repr(name)) if told else 0)

    def findings(self) -> Iterator[Finding]:
        """Yield what is told twice."""
        for twin in self._index.twins():
            yield self._twin(twin)
        yield from self._repeated_ids()

    def _twin(self, twin: Twin) -> Finding:
        file, line = self.places[twin.row]
        of = "{}:{}".format(*self.places[twin.of])
        nearly = f"nearly ({twin.likeness:.2f}) "
        if twin.row >= len(self._ids):
            kind = LEAKED if twin.equal else LEAKED_NEARLY
            what = f"~ {of}: {'' if twin.equal else nearly}a row of the data that is checked"
            remedy = "take it out of one of the two"
        else:
            kind = EQUAL if twin.equal else NEAR
            what = f"~ {of}: {'' if twin.equal else nearly}the same row"
            remedy = "--fix keeps the first" if twin.equal else "keep one, if they teach the same"
        self.counts[kind] += 1
        return Finding(REMARK, kind, file, line, "", what, remedy)

    def _repeated_ids(self) -> Iterator[Finding]:
        ids = np.array(self._ids, np.uint64)
        files = np.searchsorted(np.array(self.places._starts), np.arange(len(ids)), side="right")
        keys = np.stack([files.astype(np.uint64), ids], 1)
        _, first, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        firsts = first[group.reshape(-1)]
        for row in np.flatnonzero((firsts < np.arange(len(ids))) & (ids > 0)).tolist():
            file, line = self.places[row]
            before = self.places[int(firsts[row])][1]
            what = f"is that of line {before}"
            yield Finding(REMARK, "repeated ids", file, line, "id", what, "give each row its own")


def held(record: Record) -> str:
    """Return all that a record holds, whatever the order of its keys."""
    return json.dumps([type(record).__name__, record], ensure_ascii=False, sort_keys=True, default=vars)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") or 1


def said(record: Record) -> str:
    """Return what tells a record from others: what is said, without the system's words that many share."""
    if isinstance(record, Tokens):
        return " ".join(map(str, record.ids))
    chats = list(dialogues(record))
    if not chats:
        return "\n".join(texts(record))
    turns = [message for chat in chats for message in chat.messages if message["role"] != "system"]
    return "\n".join(str(turn.get(key) or "") for turn in turns for key in ("content", "tool_calls"))
