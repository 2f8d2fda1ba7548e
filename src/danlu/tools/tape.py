"""Text that is still arriving, read by generators that wait where it ends.

    def greeting(tape):
        name = yield from tape.until(Marks("!"), said.append)     told as it comes, up to the mark
        rest = yield from tape.match(SPACE)                       waits until more cannot match

A reader is resumed with every piece that arrives, and a last time with `ended` set. Whatever it decides
depends on the text alone, never on where a piece was cut: what could still become a mark is held back.
Each character is looked at once or twice, so that reading costs the length of what is new.

What was consumed since `record` began can be given back as text, should it turn out to be no call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator

Wait = Generator[None, None, None]
Tell = Callable[[str], None]
SPACE = re.compile(r"\s*")


class NoCall(Exception):
    """What seemed to be a call is none, or not all of one."""


class Marks:
    """Words to look for, and how much of one may stand at the end of a text."""

    def __init__(self, *words: str) -> None:
        self.words = words
        self.pattern = re.compile("|".join(map(re.escape, words)) or r"(?!)")
        self._ends = frozenset(word[size - 1] for word in words for size in range(1, len(word)))
        self._longest = max(map(len, words), default=0)

    def begun(self, text: str, start: int) -> int:
        """Return how many of the last characters, from `start` on, could begin a word.

        >>> Marks("<tool_call>").begun("see <tool", 0)
        5
        """
        if not text or text[-1] not in self._ends:
            return 0
        for size in range(min(self._longest - 1, len(text) - start), 0, -1):
            tail = text[-size:]
            if any(word.startswith(tail) for word in self.words):
                return size
        return 0


class Tape:
    """What arrived and is not yet read: `text` from `at` on."""

    __slots__ = ("text", "at", "ended", "_kept", "_recording")

    def __init__(self) -> None:
        self.text = ""
        self.at = 0
        self.ended = False
        self._kept: list[str] = []
        self._recording = False

    def push(self, text: str) -> None:
        self.text = self.text[self.at :] + text
        self.at = 0

    def wait(self) -> Generator[None, None, bool]:
        """Wait for more text; False if there is none to come."""
        if self.ended:
            return False
        yield
        return True

    def take(self, size: int) -> str:
        """Consume so many characters that are there."""
        piece = self.text[self.at : self.at + size]
        self.at += size
        if self._recording:
            self._kept.append(piece)
        return piece

    def record(self, first: str = "") -> None:
        """Keep what is consumed from now on, until it is settled what it is; `first` came before."""
        self._kept, self._recording = [first], True

    def settle(self) -> None:
        """Forget what was kept: it has been told, or is part of how a call is written."""
        self._kept.clear()

    def given_back(self) -> str:
        """Return what was kept, and keep no more."""
        kept = "".join(self._kept)
        self._kept, self._recording = [], False
        return kept

    def until(self, marks: Marks, tell: Tell) -> Generator[None, None, str]:
        """Tell text as it comes, up to one of the marks; consume and return that, "" at the end."""
        while True:
            if found := marks.pattern.search(self.text, self.at):
                if found.start() > self.at:
                    tell(self.take(found.start() - self.at))
                return self.take(found.end() - found.start())
            held = 0 if self.ended else marks.begun(self.text, self.at)
            if (size := len(self.text) - held - self.at) > 0:
                tell(self.take(size))
            if not (yield from self.wait()):
                return ""

    def peek(self) -> Generator[None, None, str]:
        """Return the next character without consuming it, "" at the end."""
        while self.at >= len(self.text):
            if not (yield from self.wait()):
                return ""
        return self.text[self.at]

    def match(self, pattern: re.Pattern[str]) -> Generator[None, None, str]:
        """Consume all that a pattern of repeated characters matches."""
        pieces = []
        while True:
            found = pattern.match(self.text, self.at)
            if found and found.end() > self.at:
                pieces.append(self.take(found.end() - self.at))
            if self.at < len(self.text) or not (yield from self.wait()):
                return "".join(pieces)

    def space(self) -> Generator[None, None, str]:
        """Consume white space."""
        return (yield from self.match(SPACE))

    def skip(self, letter: str, most: int) -> Wait:
        """Consume up to so many of a letter."""
        for _ in range(most):
            if (yield from self.peek()) != letter:
                return
            self.take(1)

    def word(self, *words: str) -> Generator[None, None, str]:
        """Consume one of the words if it is next; else nothing, and return ""."""
        longest = max(map(len, words))
        while True:
            for word in words:
                if self.text.startswith(word, self.at):
                    return self.take(len(word))
            rest = self.text[self.at : self.at + longest]
            if not any(word.startswith(rest) for word in words) or not (yield from self.wait()):
                return ""

    def next_mark(self, marks: Marks, tell: Tell) -> Generator[None, None, str]:
        """Read white space and the next mark; text where none belongs is told. "" at the end.

        Where an answer ends in the middle of a mark, that much of it is no text.
        """
        space = yield from self.space()
        if found := (yield from self.word(*marks.words)):
            return found
        if self.cut_off(*marks.words):
            return ""
        tell(space)
        return (yield from self.until(marks, tell))

    def cut_off(self, *words: str) -> bool:
        """Whether the answer ended in the middle of a word; that much of it is consumed."""
        rest = self.text[self.at : self.at + max(map(len, words))]
        if not self.ended or not any(word.startswith(rest) for word in words):
            return False
        self.take(len(rest))
        return True
