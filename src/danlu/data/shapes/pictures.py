"""Rows about pictures: captions, chats, and which pictures a text finds.

Pictures are named, by file or by number; nothing is opened here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from danlu.data.messages import dialogue
from danlu.data.records import Caption, PictureDialogue, Relevance
from danlu.data.rows import BadRow
from danlu.data.shapes.sharegpt import SPEAKERS
from danlu.data.values import kind, shown, string

Row = Mapping[str, Any]

PICTURE = "<image>"


def clip(row: Row, purpose: str | None) -> Caption:
    """Return {"file_path", "prompt", "zh_prompt"}: a picture, and its caption in one or two languages."""
    captions = [string(key, row[key]) for key in ("prompt", "zh_prompt") if row.get(key) is not None]
    return Caption(string("file_path", row["file_path"]), tuple(captions))


def query(row: Row, purpose: str | None) -> Relevance:
    """Return {"text_id", "text", "image_ids"}: a text and the pictures it should find."""
    return Relevance(_id("text_id", row["text_id"]), string("text", row["text"]), _ids(row["image_ids"]))


def found(row: Row, purpose: str | None) -> Relevance:
    """Return {"text_id", "image_ids"}: the pictures that were found, the best first."""
    return Relevance(_id("text_id", row["text_id"]), None, _ids(row["image_ids"]))


def _id(field: str, value: Any) -> int | str:
    if isinstance(value, bool) or not isinstance(value, (int, str)) or value == "":
        raise BadRow(field, f"found {shown(value)}", "must be a number or a name")
    return value


def _ids(given: Any) -> tuple[int | str, ...]:
    if not isinstance(given, list):
        raise BadRow("image_ids", f"found {kind(given)}", "must be a list of numbers or names")
    return tuple(_id(f"image_ids[{place}]", value) for place, value in enumerate(given))


def llava(row: Row, purpose: str | None) -> PictureDialogue:
    """Return {"image", "conversations"}: turns that say who speaks, or take turns; one shows the picture."""
    image, given = string("image", row["image"]), row["conversations"]
    if not isinstance(given, list):
        raise BadRow("conversations", f"found {kind(given)}", "must be a list of at least one message")
    messages = dialogue([_turn(*turn) for turn in enumerate(given)], "conversations").messages
    shows = [number for number, message in enumerate(messages) for _ in range(_shows(message))]
    if len(shows) != 1 or messages[shows[0]]["role"] != "user":
        raise BadRow(
            "conversations", f"'{PICTURE}' stands in it {len(shows)} times", "once, in a message of the user"
        )
    return PictureDialogue(image, messages)


def _shows(message: Mapping[str, Any]) -> int:
    return str(message.get("content", "")).count(PICTURE)


def _turn(number: int, turn: Any) -> Any:
    if not isinstance(turn, dict) or "value" not in turn:
        return turn
    speaker = turn.get("from") or ("human", "gpt")[number % 2]
    return {"role": SPEAKERS.get(speaker, speaker), "content": turn["value"]}
