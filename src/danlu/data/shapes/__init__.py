"""The shapes rows are written in, and which one a row has.

A shape is told by its keys: all of them are there (and hold something), other keys change nothing.
Of several that fit, the one that asks for more keys is meant:

    {"content": "..."}                      a text
    {"content": "...", "summary": "..."}    a question and its answer

Where none asks for more the row is refused: never a guess. The purpose comes from the stage; a shape
that does not serve it is an error. A new shape is one function in a file here, and one line in SHAPES.
Whatever is wrong is raised as `BadRow` with the field; the source adds file and line.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from danlu.base.errors import nearest
from danlu.data.messages import prompt_of
from danlu.data.records import Dialogue, Record
from danlu.data.rows import BadRow
from danlu.data.shapes import chat, instruction, labels, pictures, preference, sharegpt, text, xlam
from danlu.data.values import any_of, kind

Row = Mapping[str, Any]


class Shape(NamedTuple):
    """One way to write rows."""

    keys: tuple[str, ...]
    """All of them tell it."""
    purposes: tuple[str, ...]
    """What it serves, the first above all. For prompts a chat gives up its last answer."""
    convert: Callable[[Row, str | None], Record]
    tells: Callable[[Row], bool] | None = None
    """Where the keys are not enough: whether the row's values fit."""
    named: Callable[[Record], str] | None = None
    """A closer name, told from the record."""


CHAT, PROMPT = ("chat", "prompt"), ("prompt",)
SHAPES = {
    "pretrain": Shape(("text",), ("pretrain",), text.text),
    "pretrain content": Shape(("content",), ("pretrain",), text.content, text.is_content),
    "tokenised rows": Shape(("input_ids",), ("pretrain",), text.tokens),
    "sft chat": Shape(("conversations",), CHAT, chat.conversations, chat.with_roles, chat.named),
    "sft messages": Shape(("messages",), CHAT, chat.messages),
    "agent rl": Shape(("conversations", "gt"), PROMPT, chat.agent),
    "agent rl messages": Shape(("messages", "gt"), PROMPT, chat.agent),
    "sharegpt": Shape(("conversations",), CHAT, sharegpt.chat, chat.with_speakers, sharegpt.named),
    "xlam raw": Shape(("query", "answers"), CHAT, xlam.calls),
    "alpaca": Shape(("instruction", "output"), CHAT, instruction.alpaca),
    "belle": Shape(("input", "target"), CHAT, instruction.belle),
    "context/target": Shape(("context", "target"), CHAT, instruction.context),
    "adgen": Shape(("content", "summary"), CHAT, instruction.adgen),
    "dpo chat": Shape(("chosen", "rejected"), ("preference",), preference.chats, preference.are_chats),
    "hh-rlhf": Shape(("chosen", "rejected"), ("preference",), preference.transcripts, preference.are_texts),
    "prompt pair": Shape(
        ("prompt", "chosen", "rejected"), ("preference",), preference.answers, preference.are_answers
    ),
    "alpaca pair": Shape(
        ("instruction", "chosen", "rejected"), ("preference",), preference.answers, preference.are_answers
    ),
    "sharegpt pair": Shape(
        ("conversations", "chosen", "rejected"), ("preference",), preference.turns_after, preference.are_turns
    ),
    "feedback log": Shape(
        ("instruct", "model_output", "is_error"), ("preference", *CHAT), preference.feedback
    ),
    "classification": Shape(("text", "label"), ("classify",), labels.classification),
    "clip pairs": Shape(("file_path", "prompt"), ("caption",), pictures.clip),
    "llava": Shape(("image", "conversations"), ("picture",), pictures.llava),
    "chinese-clip": Shape(("text_id", "text", "image_ids"), ("retrieval",), pictures.query),
    "retrieval eval": Shape(("text_id", "image_ids"), ("retrieval",), pictures.found),
}


def recognise(row: Any, purpose: str | None) -> tuple[str, Record]:
    """Return the name of a row's shape and its record; without a purpose, any shape will do."""
    if not isinstance(row, dict):
        raise BadRow("", f"the row is {kind(row)}, not an object", 'each line is {"key": value, ...}')
    name = _meant(row, purpose)
    shape = SHAPES[name]
    record = shape.convert(row, purpose)
    if purpose == "prompt" and isinstance(record, Dialogue):
        record = prompt_of(record)
    return shape.named(record) if shape.named else name, record


def _meant(row: Row, purpose: str | None) -> str:
    """Return the name of the one shape a row has that serves a purpose."""
    found = _found(row, tuple(key for key, value in row.items() if value is not None))
    fitting = _serving(found, purpose)
    if not fitting:  # a key that holds nothing counts only where there is nothing else
        found = _found(row, tuple(row)) or found
        fitting = _serving(found, purpose)
    if len(fitting) > 1:
        fitting = [name for name in fitting if not any(_asks_more(other, name) for other in fitting)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        several = " and ".join(_keys(name) for name in fitting)
        raise BadRow(
            "", f"the row has {'both ' * (len(fitting) == 2)}{several}", "keep the one that is meant"
        )
    if found:
        raise BadRow(
            SHAPES[found[-1]].keys[0],
            f"this is for {SHAPES[found[-1]].purposes[0]}, not for {purpose}",
            f"the row is of the shape '{found[-1]}'; wanted are rows with {_wanted(purpose)}",
        )
    raise _missing(row, purpose)


def _found(row: Row, keys: tuple[str, ...]) -> list[str]:
    """Return the shapes that a row of these keys has."""
    return [name for name in _by_keys(keys) if (tells := SHAPES[name].tells) is None or tells(row)]


def _serving(names: list[str], purpose: str | None) -> list[str]:
    return [name for name in names if purpose is None or purpose in SHAPES[name].purposes]


@functools.lru_cache(maxsize=4096)
def _by_keys(keys: tuple[str, ...]) -> list[str]:
    """Return the shapes that these keys tell, those that ask for more keys last."""
    names = [name for name, shape in SHAPES.items() if set(shape.keys) <= set(keys)]
    return sorted(names, key=lambda name: len(SHAPES[name].keys))


def _asks_more(other: str, name: str) -> bool:
    return set(SHAPES[other].keys) > set(SHAPES[name].keys)


def _missing(row: Row, purpose: str | None) -> BadRow:
    """Return what a row lacks of the shape it comes closest to."""
    shapes = [shape for shape in SHAPES.values() if purpose is None or purpose in shape.purposes]
    closest = max(shapes, key=lambda shape: sum(key in row for key in shape.keys))
    lacking = next((key for key in closest.keys if key not in row), closest.keys[0])
    has = any_of(map(str, row)) or "no keys"
    return BadRow(lacking, f"is missing; the row has {has}", _rename(row, lacking, purpose))


def _rename(row: Row, wanted: str, purpose: str | None) -> str:
    close = nearest(wanted, map(str, row)) if row else ""
    if close.startswith("did you mean"):
        theirs = close.split("'")[1]
        return f"rename '{theirs}' to '{wanted}', or say so: fields {wanted}={theirs}"
    return f"rows with {_wanted(purpose)}, or say which key stands for which: fields {wanted}=THEIRS"


def _wanted(purpose: str | None) -> str:
    names = [name for name, shape in SHAPES.items() if purpose is None or purpose in shape.purposes]
    return _choice(dict.fromkeys(_keys(name) for name in names))


def _choice(words: Iterable[str]) -> str:
    words = list(words)
    return " or ".join(words[:6]) + (" ..." if len(words) > 6 else "")


def _keys(name: str) -> str:
    """Return the keys that tell a shape, in words."""
    return "+".join(f"'{key}'" for key in SHAPES[name].keys)
