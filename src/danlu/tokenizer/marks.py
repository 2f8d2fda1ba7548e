"""Stand-ins and marks: how user text passes through a chat template without being mistaken.

Before rendering, in every string a user gave,

    a control token typed there      becomes   KEYt3z          (the third control token, as text)
    what a message says              becomes   KEYb7z...KEYe7z (begin and end of message 7)

and after rendering they are found again and taken away. KEY is drawn by each process, so nobody can
type it. Marks lie inside the leading and trailing white space of what is said, because templates trim.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Container, Sequence
from typing import Any, NamedTuple

from danlu.tokenizer.template import Message

KEY = "Zq" + secrets.token_hex(8)
MARK = re.compile(rf"{KEY}([be])(\d+)z")
THOUGHT_ENDS = "</think>"


class Control:
    """The control tokens of one tokenizer, longest first, as patterns."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = sorted(tokens, key=lambda token: (-len(token), token))
        alternatives = "|".join(map(re.escape, self.tokens)) or r"(?!)"
        self.typed = re.compile(alternatives)
        self.any = re.compile(rf"{KEY}(?P<kind>[tbe])(?P<number>\d+)z|(?P<control>{alternatives})")
        self._number = {token: number for number, token in enumerate(self.tokens)}
        self._as_in_json = all(json.dumps(token, ensure_ascii=False) == f'"{token}"' for token in self.tokens)

    def disguise(self, text: str) -> str:
        """Return text in which control tokens are replaced by stand-ins."""
        return self.typed.sub(lambda match: f"{KEY}t{self._number[match[0]]}z", text)

    def nowhere(self, value: Any) -> bool:
        """Return whether surely no string of a JSON-like value holds a control token; False: look closer."""
        if not self._as_in_json:
            return False
        try:
            return self.typed.search(json.dumps(value, ensure_ascii=False)) is None
        except (TypeError, ValueError):
            return False


def everywhere(change: Callable[[str], str], value: Any) -> Any:
    """Return a JSON-like value with every string in it changed, keys as well."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {everywhere(change, key): everywhere(change, inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [everywhere(change, inner) for inner in value]
    return value


def marked(messages: Sequence[Message], roles: Container[str]) -> list[Message]:
    """Return messages in which what `roles` say lies between marks."""
    out: list[Message] = []
    for number, message in enumerate(messages):
        said = message.get("content")
        if message["role"] in roles and isinstance(said, str) and said.strip():
            message = {**message, "content": _mark(said, number)}
        out.append(message)
    return out


def _mark(said: str, number: int) -> str:
    """Put marks around what is said. Thoughts in it stay outside: some templates cut them off."""
    core = said.rfind(THOUGHT_ENDS) + len(THOUGHT_ENDS) if THOUGHT_ENDS in said else 0
    if not said[core:].strip():
        core = 0
    begin = core + len(said[core:]) - len(said[core:].lstrip())
    end = len(said.rstrip())
    return f"{said[:begin]}{KEY}b{number}z{said[begin:end]}{KEY}e{number}z{said[end:]}"


class Piece(NamedTuple):
    """A run of text to encode, or one control token, and where it begins in the rendered text."""

    text: str
    start: int
    control: str | None


def pieces(raw: str, control: Control) -> tuple[list[Piece], list[tuple[int, int]]]:
    """Split a rendering at the control tokens the template wrote, and restore what users typed.

    Returns the pieces and, for translating positions, pairs (position in raw, position in the text).
    """
    out: list[Piece] = []
    places = [(0, 0)]
    length, run, begin, last = 0, "", 0, 0  # of the text so far; the piece being read and where it began
    for match in control.any.finditer(raw):
        plain = raw[last : match.start()]
        run, length = run + plain, length + len(plain)
        places.append((match.start(), length))
        if match["control"] is not None:
            if run:
                out.append(Piece(run, begin, None))
            out.append(Piece(match["control"], length, match["control"]))
            length += len(match["control"])
            run, begin = "", length
        elif match["kind"] == "t":
            typed = control.tokens[int(match["number"])]
            run, length = run + typed, length + len(typed)
        last = match.end()
        places.append((last, length))
    run += raw[last:]
    if run:
        out.append(Piece(run, begin, None))
    return out, places
