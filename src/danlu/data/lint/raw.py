"""The very bytes of a row, where its file is text."""

from __future__ import annotations

import base64
import json

from danlu.data.formats import Block
from danlu.data.formats.json_items import Items
from danlu.data.rows import Place


def raw_bytes(block: Block, place: Place) -> bytes | None:
    """Return a row as it stands in its file, without the line's end; None where files are no text."""
    data = getattr(block, "data", None)
    if not isinstance(data, bytes):
        return None
    begin = place.offset - block.place.offset
    if isinstance(block, Items):
        return data[begin : next(end for end in block.ends if end >= begin)].rstrip()
    end = data.find(b"\n", begin)
    return data[begin : end if end >= 0 else len(data)].removesuffix(b"\r")


def raw(block: Block, place: Place, value: object) -> dict[str, str | None]:
    """Return a row as text: its own, or else its value. Bytes that are no text stay as base64."""
    line = raw_bytes(block, place)
    if line is None:
        unknown = isinstance(value, Exception)
        return {"raw": None if unknown else json.dumps(value, ensure_ascii=False, default=str)}
    try:
        return {"raw": line.decode()}
    except UnicodeDecodeError:
        shown = line.decode("utf-8", "backslashreplace")
        return {"raw": shown, "raw_base64": base64.b64encode(line).decode()}
