"""Whether text survives a tokenizer: encoded and decoded, whole and token by token.

The planes of Unicode are walked through in pieces: those that hold characters whole, and of the empty and
private ones one piece in sixteen. A piece that does not come back is searched for the characters to blame.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from tokenizers import decoders

from danlu.tokenizer.decoding import HALF
from danlu.tokenizer.tokenizer import Tokenizer

SURROGATES = range(0xD800, 0xE000)
PLANE, PIECE = 0x10000, 512
FULL = (0, 1, 2, 3, 14)  # planes in which characters are assigned
NAMED = 3  # culprits told of each check
SPACE_SIGN = "\u2581"  # what stands for a space in SentencePiece's vocabularies, so that it is one when typed
BYTE_LETTERS = decoders.ByteLevel()
TEXTS = {
    "Chinese": "今天天气很好，我们去公园散步吧！“炼丹”三年，𠮷野家。",
    "English": "It's 3.14 o'clock, isn't it?  Yes - e-mail me (twice) @ noon.",
    "emoji": "😀👍🏽👩‍👩‍👧‍👦🏳️‍🌈👩🏿‍🚀🇨🇳1️⃣❤️‍🔥",
    "code": "def f(x):\n\treturn {'a': x ** 2}  # ok\r\n\r\n    if a != b && c[0] >= 1: pass;\n\n\n",
    "white space": "a  b   c\t\td \n \n  e\r\nf\u3000g\u00a0h\u200bi",
    "odd signs": "\x01\x1b[0m\x7f\x85\ufeff\ufffd\u202e\u0301a\u0301\ufffe\uffff\U0010ffff",
    "markup": '<think>\n1 < 2\n</think>\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>',
    "other scripts": "Ελληνικά русский العربية हिन्दी ไทย 한국어 日本語 עברית Tiếng Việt",
}


@dataclass(frozen=True)
class Trip:
    """One check: its name, whether it passed, and what there is to say."""

    name: str
    passed: bool
    note: str = ""


def promises(tokenizer: Tokenizer) -> bool:
    """Return whether every text must come back: any byte can be said by this vocabulary."""
    layout = tokenizer.layout
    said = json.dumps([layout.get("pre_tokenizer"), layout.get("decoder")])
    return '"ByteLevel"' in said or bool(layout["model"].get("byte_fallback"))


def trips(tokenizer: Tokenizer) -> Iterator[Trip]:
    """Yield every check of a tokenizer."""
    promised = promises(tokenizer)
    for name, text in TEXTS.items():
        yield _judged(f"round trip: {name}", blamed(tokenizer, text), promised)
        yield _stream(tokenizer, name, text, promised)
    yield _judged("round trip: all planes of Unicode", list(_lost_planes(tokenizer)), promised)
    yield _typed(tokenizer)


def comes_back(tokenizer: Tokenizer, text: str) -> bool:
    """Return whether a text comes back as it was, or as the tokenizer's own normalizer leaves it."""
    decoded = tokenizer.decode(tokenizer.encode(text))
    return decoded == text or decoded == tokenizer.normalised(text)


def blamed(tokenizer: Tokenizer, text: str) -> list[str]:
    """Return the characters that keep a text from coming back; all of it if none does by itself."""
    if comes_back(tokenizer, text):
        return []
    return [letter for letter in dict.fromkeys(text) if not comes_back(tokenizer, letter)] or [text]


def _lost_planes(tokenizer: Tokenizer) -> Iterator[str]:
    for start in range(0, 17 * PLANE, PIECE):
        sparse = start // PLANE not in FULL and start // PIECE % 16
        if start not in SURROGATES and not sparse:
            yield from blamed(tokenizer, "".join(map(chr, range(start, start + PIECE))))


def _judged(name: str, lost: list[str], promised: bool) -> Trip:
    if not lost:
        return Trip(name, True)
    if lost == [SPACE_SIGN]:
        return Trip(name, True, "but U+2581, which this vocabulary writes for a space")
    shown = " ".join(_shown(text) for text in lost[:NAMED]) + (" ..." if len(lost) > NAMED else "")
    return Trip(name, not promised, f"{len(lost):,} do not come back: {shown}")


def _shown(text: str) -> str:
    return f"U+{ord(text):04X}" if len(text) == 1 else json.dumps(text, ensure_ascii=False)


def _stream(tokenizer: Tokenizer, name: str, text: str, promised: bool) -> Trip:
    """Check that tokens shown one by one add up, and that no half of a character is ever shown."""
    name = f"stream: {name}"
    ids = tokenizer.encode(text)
    stream = tokenizer.stream()
    pieces = [stream.push(token) for token in ids]
    whole = tokenizer.decode(ids)
    if "".join(pieces) + stream.flush() != whole:
        return Trip(name, not promised, "token by token gives another text")
    broken = sum(piece.count(HALF) for piece in pieces) > whole.count(HALF)
    return Trip(name, not broken, "half a character is shown" if broken else "")


def _typed(tokenizer: Tokenizer) -> Trip:
    """Check that no control token comes of its name, nor of the bytes that its letters stand for."""
    control = {token["id"] for token in tokenizer.control.values()}
    control.discard(tokenizer.token_id(str(tokenizer.variables.get("unk_token"))))
    made: set[int] = set()
    for name in tokenizer.control:
        for text in {name, BYTE_LETTERS.decode([name])}:
            made.update(tokenizer.encode(text), tokenizer.encode(f"a{text} b"))
    guilty = [text for text, token in tokenizer.control.items() if token["id"] in made & control]
    note = f"{' '.join(guilty[:NAMED])} can be typed" if guilty else ""
    return Trip("typed control tokens stay text", not guilty, note)
