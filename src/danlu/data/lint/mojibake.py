"""Text that was decoded with the wrong table, told by decoding it back.

    你好   UTF-8 read as Latin-1 or CP1252    ä½\\xa0å¥½     signs of accents and currency in a row
    你好   UTF-8 read as GBK                  浣犲ソ         rare characters whose bytes are UTF-8
    ��     GBK of characters lost before      锟斤拷         nothing is left to decode

Two tables can make sense of the same bytes, so one sign is no proof: `É»` may close a French quotation.
`trouble` asks for several in a row or for one that no language writes. `reversed_whole` is stricter
still, for a text is changed by it: all of the text must decode, and often.
"""

from __future__ import annotations

import itertools
import re
import unicodedata

ENOUGH = 6  # bytes of a text that is decoded back: two characters of Chinese, three accents


def _western() -> dict[str, int]:
    """Return the byte that each character of Latin-1 and of CP1252 above 0x7F stands for."""
    table = {chr(byte): byte for byte in range(0x80, 0x100)}
    for byte in range(0x80, 0xA0):
        character = bytes([byte]).decode("cp1252", "ignore")
        table |= {character: byte} if character else {}
    return table


WESTERN = _western()


def _letters(first: int, last: int) -> str:
    return "[" + "".join(re.escape(sign) for sign, byte in WESTERN.items() if first <= byte <= last) + "]"


NEXT = _letters(0x80, 0xBF)
SEQUENCE = (
    f"(?:{_letters(0xC2, 0xDF)}{NEXT}|{_letters(0xE0, 0xEF)}{NEXT}{{2}}|{_letters(0xF0, 0xF4)}{NEXT}{{3}})"
)
RUN = re.compile(f"{SEQUENCE}+")
LEAD = re.compile(_letters(0xC2, 0xF4) + NEXT)
CLOSING = frozenset("‘’‚‛“”„«»‹›…–—•")
"""Signs that stand after a letter with an accent in clean text too; with a space, as in `café »`."""


def _chinese(first: range, second: range) -> str:
    """Return a class of the characters whose two GBK bytes are in these ranges."""
    pairs = (bytes(pair).decode("gb18030", "ignore") for pair in itertools.product(first, second))
    return "[" + "".join(sign for sign in pairs if len(sign) == 1) + "]"


LEADS, NEXTS = range(0xE2, 0xF0), range(0x80, 0xC0)
LEADS_2 = range(0x81, 0xC0)  # as first byte of a pair
TWO = _chinese(LEADS, NEXTS) + _chinese(LEADS_2, LEADS) + _chinese(LEADS_2, NEXTS)
"""Six bytes of UTF-8 that are two characters of three bytes each."""
GBK_RUN = re.compile(f"(?:{TWO})+")
LOST = re.compile("锟斤拷|ï¿½")
NOT_ASCII = re.compile(r"[^\x00-\x7f]")


def trouble(text: str) -> tuple[str, str] | None:
    """Return a piece of a text that was decoded wrongly and what it was, or None.

    >>> trouble("Fran\\u00c3\\u00a7ais")
    ('Ã§', 'ç')
    >>> trouble("浣犲ソ")
    ('浣犲ソ', '你好')
    >>> trouble("«CAFÉ»") is None
    True
    """
    if text.isascii():
        return None
    if lost := LOST.search(text):
        return lost[0], "\ufffd"
    return _read_as_western(text) or _read_as_gbk(text)


def _read_as_western(text: str) -> tuple[str, str] | None:
    if LEAD.search(text) is None:
        return None
    for run in RUN.finditer(text):
        said = _decoded(run[0])
        if said and _evident(run[0], said):
            return run[0], said
    return None


def _decoded(run: str) -> str | None:
    """Return what a run of signs says once it is read as UTF-8; None if that is no text."""
    try:
        said = bytes(WESTERN[sign] for sign in run).decode("utf-8")
    except UnicodeDecodeError:
        return None
    return said if _all_assigned(said) else None


def _all_assigned(said: str) -> bool:
    return not any(unicodedata.category(sign) in ("Cn", "Co", "Cs") for sign in said)


def _evident(run: str, said: str) -> bool:
    """Whether no language writes this run."""
    if len(said) > 1:
        return len(said) > 2 or not all(sign in CLOSING or sign == "\xa0" or sign.isalpha() for sign in run)
    if len(run) == 2:
        return run[0] in "ÂÃ" and run[1] not in CLOSING
    return not all(sign in CLOSING or sign == "\xa0" for sign in run[1:])


def _read_as_gbk(text: str) -> tuple[str, str] | None:
    for run in GBK_RUN.finditer(text):
        said = run[0].encode("gb18030").decode("utf-8", "replace")
        if "\ufffd" in said or not _all_assigned(said):
            continue
        whole = len(run[0]) * 2 >= len(NOT_ASCII.findall(text))
        if len(said) >= 4 or (whole and all(map(_common, said)) and not all(map(_common, run[0]))):
            return run[0], said
    return None


def _common(sign: str) -> bool:
    """Whether a character is among the 3,755 most used or is punctuation: the first part of GB 2312."""
    try:
        return sign.encode("gb2312")[0] < 0xD8
    except UnicodeEncodeError:
        return False


def reversed_whole(text: str) -> str | None:
    """Return what a wrongly decoded text said, if all of it proves it; else None.

    >>> reversed_whole("ä½\\xa0å¥½å\\x90\\x97")
    '你好吗'
    >>> reversed_whole("we see Ã© instead of é") is None
    True
    """
    if text.isascii() or trouble(text) is None:
        return None
    if all(sign in WESTERN or sign.isascii() for sign in text):
        read = bytes(WESTERN.get(sign, ord(sign)) for sign in text)
    else:
        try:
            read = text.encode("gb18030")
        except UnicodeEncodeError:
            return None
    try:
        said = read.decode("utf-8")
    except UnicodeDecodeError:
        return None
    proofs = len("".join(NOT_ASCII.findall(said)).encode())
    return said if proofs >= ENOUGH and _all_assigned(said) and "\ufffd" not in said else None
