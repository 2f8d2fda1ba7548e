"""The very bytes of a row, where its file has lines."""

from __future__ import annotations

import base64
import json

from danlu.data.formats import Block
from danlu.data.formats.jsonl import Lines
from danlu.data.rows import Place


def raw_line(block: Block, place: Place) -> bytes | None:
    """Return the line that a row of JSON lines stands in, as it is, without its end; else None."""
    if not isinstance(block, Lines):
        return None
    begin = place.offset - block.place.offset
    end = block.data.find(b"\n", begin)
    return block.data[begin : end if end >= 0 else len(block.data)].removesuffix(b"\r")


def raw(block: Block, place: Place, value: object) -> dict[str, str | None]:
    """Return a row as text: its line, or else its value. Bytes that are no text stay as base64."""
    line = raw_line(block, place)
    if line is None:
        bare = isinstance(value, Exception)
        return {"raw": None if bare else json.dumps(value, ensure_ascii=False, default=str)}
    try:
        return {"raw": line.decode()}
    except UnicodeDecodeError:
        shown = line.decode("utf-8", "backslashreplace")
        return {"raw": shown, "raw_base64": base64.b64encode(line).decode()}
