"""A file of text in pieces of whole rows, about a megabyte each.

    for piece in pieces(path, place, ends): ...

`ends(data, final)` is what a format knows: how many bytes of `data` are whole rows, 0 if none. A row
beyond LONGEST, and what a damaged stream leaves unfinished, come as `Unreadable`; reading goes on after
the former at its next line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from danlu.data import formats
from danlu.data.formats import Unreadable
from danlu.data.formats.inflate import Damaged, chunks
from danlu.data.rows import BadRow, Place


class Piece(NamedTuple):
    """Whole rows, as bytes."""

    place: Place
    after: Place
    data: bytes


Ends = Callable[[bytes, bool], int]


def last_line(data: bytes, final: bool) -> int:
    """Return where the last whole line ends, for formats with a row a line."""
    return len(data) if final else data.rfind(b"\n") + 1


def pieces(path: Path, place: Place, ends: Ends = last_line) -> Iterator[Piece | Unreadable]:
    """Yield a file from a place on, cut where rows end."""
    source = chunks(path, place.offset)
    held, damage, final = b"", None, False
    while not final or held and damage is None:
        # Twice what was there, so that a long row is not looked at once for each of its megabytes.
        held, damage, final = _more(source, held, min(max(formats.BLOCK, 2 * len(held)), formats.LONGEST))
        if end := ends(held, final and damage is None):
            piece, held = held[:end], held[end:]
            after = Place(place.offset + end, place.number + piece.count(b"\n"))
            yield Piece(place, after, piece)
            place = after
        elif len(held) >= formats.LONGEST:
            end, held, damage, final = _past(source, held)
            after = Place(place.offset + end, place.number + 1)
            yield Unreadable(place, after, too_long())
            place = after
    if damage:
        if end := ends(held, False):
            after = Place(place.offset + end, place.number + held[:end].count(b"\n"))
            yield Piece(place, after, held[:end])
            place = after
        yield Unreadable(place, Place(place.offset + len(held), place.number + 1), _damaged(place, damage))


def _more(source: Iterator[bytes], held: bytes, size: int) -> tuple[bytes, Damaged | None, bool]:
    """Return what is held and more, at least up to a size; what broke off, and whether this is the end."""
    parts = [held]
    have = len(held)
    try:
        while have < size or len(parts) == 1:
            data = next(source, None)
            if data is None:
                return b"".join(parts), None, True
            parts.append(data)
            have += len(data)
    except Damaged as damage:
        return b"".join(parts), damage, True
    return b"".join(parts), None, False


def _past(source: Iterator[bytes], held: bytes) -> tuple[int, bytes, Damaged | None, bool]:
    """Return how long the line is that stands first, what is held after it, and how that went."""
    passed, data = 0, held
    while not (end := data.find(b"\n") + 1):
        passed += len(data)
        data, damage, final = _more(source, b"", 1)
        if final:
            end = data.find(b"\n") + 1 or len(data)
            return passed + end, data[end:], damage, True
    return passed + end, data[end:], None, False


def too_long() -> BadRow:
    """Return what is wrong with a row beyond LONGEST."""
    return BadRow("", f"is longer than {formats.LONGEST >> 20} MB", "cut it into several rows, or remove it")


def _damaged(place: Place, damage: Damaged) -> BadRow:
    last = f"; the last good line is {place.number}" if place.number else "; no line is whole"
    return BadRow("", f"{damage}{last}", "fetch or pack the file again; the rows before this one are good")
