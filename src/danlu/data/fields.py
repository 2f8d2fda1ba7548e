"""Rows whose keys have other names: `reading.fields` says which of theirs stands for which of ours.

    text=content                        the row's text is under its key `content`
    text=body.plain                     or deeper: under `plain` in the object under `body`
    messages=dialog                     a list under another name
    message.role=speaker                within every message
    role.assistant=bot                  a role's value

A key that is named here and absent is a bad row; what is not named stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from danlu.base.errors import UserError
from danlu.data.rows import BadRow

LISTS = ("messages", "conversations", "chosen", "rejected", "prompt")
SPEAKERS = ("role", "from")


class Names:
    """Renaming, split into what concerns a row, its messages and their roles."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.row, self.message, self.role = {}, {}, {}
        for ours, theirs in fields.items():
            if not ours or not theirs:
                raise UserError(f"fields: '{ours}={theirs}' names nothing", "write our_key=their_key")
            where, dot, key = ours.partition(".")
            if dot and where == "message":
                self.message[key] = theirs
            elif dot and where == "role":
                self.role[theirs] = key
            elif dot:
                raise UserError(
                    f"fields: there is no '{ours}'", "our key, message.KEY or role.ROLE; theirs may have dots"
                )
            else:
                self.row[ours] = theirs

    def apply(self, row: Any) -> Any:
        """Return a row under our names."""
        if not isinstance(row, dict) or not (self.row or self.message or self.role):
            return row
        values = {ours: reached(row, theirs, "") for ours, theirs in self.row.items()}
        moved = {theirs for theirs in self.row.values() if "." not in theirs or theirs in row}
        out = {key: value for key, value in row.items() if key not in moved} | values
        if self.message or self.role:
            for key in LISTS:
                if isinstance(out.get(key), list):
                    out[key] = [self._said(item, f"{key}[{i}]") for i, item in enumerate(out[key])]
        return out

    def _said(self, message: Any, where: str) -> Any:
        if not isinstance(message, dict):
            return message
        values = {ours: reached(message, theirs, where) for ours, theirs in self.message.items()}
        out = {k: v for k, v in message.items() if k not in self.message.values()} | values
        for speaker in SPEAKERS:
            if isinstance(out.get(speaker), str):
                out[speaker] = self.role.get(out[speaker], out[speaker])
        return out


def reached(row: Mapping[str, Any], path: str, where: str) -> Any:
    """Return what stands under a key, or under keys with dots between.

    >>> reached({"a": {"b": 1}, "c.d": 2}, "a.b", ""), reached({"a": {"b": 1}, "c.d": 2}, "c.d", "")
    (1, 2)
    """
    if path in row:
        return row[path]
    place: Any = row
    for key in path.split("."):
        if not isinstance(place, dict) or key not in place:
            name = f"{where}.{path}" if where else path
            keys = ", ".join(map(repr, row)) or "no keys"
            raise BadRow(
                name[:120], f"is missing, and fields names it; there is {keys[:120]}", "change fields"
            )
        place = place[key]
    return place
