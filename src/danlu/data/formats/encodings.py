"""How the bytes of a file of text stand for characters: UTF-8 or GB18030, told from the bytes.

What is UTF-8 throughout its first megabyte is UTF-8. Else the characters beyond ASCII are asked: if most
of them are UTF-8 the others are wrong bytes of a UTF-8 file; if not, and the whole is GB18030 that reads
as everyday Chinese, the file is GB18030, which is said. The last condition keeps files in a
western one-byte encoding from being read as nonsense. `reading.encoding` overrides all this.
"""

from __future__ import annotations

import codecs
from pathlib import Path

from danlu.base.errors import UserError, pick
from danlu.base.log import say_once
from danlu.data.formats import BLOCK, Reading
from danlu.data.formats.inflate import Damaged, chunks
from danlu.data.rows import BadRow

CONTROLS = bytes({*range(32), 127} - set(b"\t\n\v\f\r"))
BOM = codecs.BOM_UTF8
ENCODINGS = ("auto", "utf-8", "gb18030")
EVERYDAY = 0.25  # of the characters beyond ASCII must be in GB 2312; half are even in traditional writing


def head_of(path: Path, size: int = BLOCK) -> bytes:
    """Return the first bytes of a file, inflated."""
    found: list[bytes] = []
    try:
        for data in chunks(path):
            found.append(data)
            if sum(map(len, found)) >= size:
                break
    except Damaged:
        pass  # whoever reads the file gets there again, and names the line
    return b"".join(found)[:size]


def encoding_of(path: Path, reading: Reading) -> str:
    """Return the encoding of a file of text: what the user says, or what its bytes look like."""
    chosen = pick("encoding", reading.encoding.lower().replace("utf8", "utf-8"), ENCODINGS)
    head = head_of(path)
    _refuse_wide(path, head)
    if chosen != "auto":
        return chosen
    found = told_encoding(head)
    if found != "utf-8":
        say_once(f"{path}: is not UTF-8 but looks like GB18030, and is read so; encoding=utf-8 to refuse")
    return found


def told_encoding(head: bytes) -> str:
    """Return the encoding that some first bytes of a file look like.

    >>> told_encoding("丹炉".encode()), told_encoding("丹炉".encode("gb18030")), told_encoding(b"caf\\xe9s")
    ('utf-8', 'gb18030', 'utf-8')
    """
    if _decodes(head, "utf-8"):
        return "utf-8"
    guess = head.decode("utf-8", "replace")
    wrong = guess.count("\ufffd")
    right = len(guess) - len(guess.encode("ascii", "ignore")) - wrong
    if right > wrong or not _decodes(head, "gb18030"):
        return "utf-8"
    strange = [c for c in head.decode("gb18030", "ignore") if c > "\x7f"]
    everyday = len("".join(strange).encode("gb2312", "ignore")) // 2
    return "gb18030" if everyday >= EVERYDAY * len(strange) else "utf-8"


def _decodes(data: bytes, encoding: str) -> bool:
    """Return whether bytes are right so far; the last character may be cut off."""
    try:
        codecs.getincrementaldecoder(encoding)().decode(data)
    except UnicodeDecodeError:
        return False
    return True


def _refuse_wide(path: Path, head: bytes) -> None:
    """Refuse two and four bytes a character, with a mark in front or told by every other byte being zero."""
    some = head[:1024]
    marked = some.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if marked or any(some[first::2].count(0) * 5 > len(some) * 2 for first in (0, 1)):
        to = path.with_suffix(".utf8" + path.suffix).name
        raise UserError(
            f"{path}:1: is UTF-16 or UTF-32, not UTF-8",
            f"iconv -f utf-16 -t utf-8 '{path.name}' > '{to}'",
        )


def refuse_controls(data: bytes) -> None:
    """Refuse a row of plain text with bytes that are no text."""
    if len(data.translate(None, CONTROLS)) < len(data):
        at, byte = next((at, byte) for at, byte in enumerate(data) if byte in CONTROLS)
        raise BadRow("", f"byte {at + 1} is a control character (0x{byte:02x})", "remove it")


def decoded(data: bytes, encoding: str, first: bool = False) -> str:
    """Return a row's text; only the first row of a file may begin with a byte order mark."""
    if data.startswith(BOM) and encoding == "utf-8":
        if not first:
            raise BadRow("", "begins with a byte order mark (EF BB BF)", "remove those three bytes")
        data = data[len(BOM) :]
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        name = "GB18030" if encoding == "gb18030" else "UTF-8"
        found = f"byte {error.start + 1} (0x{data[error.start]:02x}) is not {name}"
        raise BadRow("", found, f"save the file as {name}") from None
