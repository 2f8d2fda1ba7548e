"""What a row says, whatever file it stood in and whichever keys it used: the kinds of record.

    {"text": "..."}                                  -> Text
    {"messages": [{"role": "user", ...}, ...]}       -> Dialogue
    {"chosen": [...], "rejected": [...]}             -> Preference

How rows of many shapes become these is told in shapes/. A purpose is what a stage wants to do with
records; which shapes serve it is written there too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Text:
    """A plain text."""

    text: str


@dataclass(frozen=True)
class Tokens:
    """A text that is token ids already, its begin and end among them if it has any."""

    ids: list[int]
    read: int = 0
    """How many ids at the beginning are only read, not learned."""


@dataclass(frozen=True)
class Dialogue:
    """Messages in order, and the tools they may call."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
    inferred: bool = field(default=False, compare=False)
    """Whether nobody wrote the tools' schemas: they were told from the calls."""


@dataclass(frozen=True)
class Preference:
    """Two ways to go on from the same question, the first the better one."""

    chosen: Dialogue
    rejected: Dialogue


@dataclass(frozen=True)
class Prompt:
    """A chat that waits for the assistant; `answer` is what it should come to, where that is known."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
    answer: str | None = None


@dataclass(frozen=True)
class Label:
    """A text and the name of its class."""

    text: str
    label: str


@dataclass(frozen=True)
class Caption:
    """A picture by its file, and texts that each describe it."""

    image: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class PictureDialogue:
    """A chat about a picture; `<image>` stands in the message that shows it."""

    image: str
    messages: list[dict[str, Any]]


@dataclass(frozen=True)
class Relevance:
    """A query and the pictures that answer it; without its text it is an answer to be judged."""

    text_id: int | str
    text: str | None
    image_ids: tuple[int | str, ...]


Record = Text | Tokens | Dialogue | Preference | Prompt | Label | Caption | PictureDialogue | Relevance
PURPOSES = ("pretrain", "chat", "preference", "prompt", "classify", "caption", "picture", "retrieval")


def dialogues(record: Record) -> Iterator[Dialogue]:
    """Yield the chats in a record: two of a preference, none of a text."""
    if isinstance(record, Dialogue):
        yield record
    elif isinstance(record, Preference):
        yield from (record.chosen, record.rejected)
    elif isinstance(record, Prompt):
        yield Dialogue(record.messages, record.tools)
    elif isinstance(record, PictureDialogue):
        yield Dialogue(record.messages)


def texts(record: Record) -> Iterator[str]:
    """Yield every text that a record says: messages, thoughts, calls, captions; not the tools' schemas."""
    if isinstance(record, (Text, Label)):
        yield record.text
    elif isinstance(record, Caption):
        yield from record.texts
    elif isinstance(record, Relevance):
        yield from [record.text] if record.text is not None else []
    for dialogue in dialogues(record):
        for message in dialogue.messages:
            for said in (message.get("reasoning_content"), message.get("content"), message.get("tool_calls")):
                if said:
                    yield said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)


def recognise(row: Any, purpose: str | None) -> tuple[str, Record]:
    """Return the name of a row's shape and its record; without a purpose, any shape will do."""
    from danlu.data import shapes  # they make records, so they come after

    return shapes.recognise(row, purpose)
