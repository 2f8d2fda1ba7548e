"""How a single token is written: for log-probabilities, where each token stands alone.

A token may be a part of a character. Its text then holds a replacement sign; its bytes tell the truth, and
the bytes of an answer's tokens, one after the other, are the bytes of the answer. Where only a name is told,
it is made of them: bytes:\\xe4\\xb8, as OpenAI has it.
"""

from __future__ import annotations

import codecs
import functools
import json
import re
from collections.abc import Sequence

from danlu.tokenizer.tokenizer import Tokenizer

BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def _alphabet() -> dict[str, int]:
    """Return which byte each letter of the byte alphabet stands for: what can be printed is itself."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


ALPHABET = _alphabet()


class Spelling:
    """The words of one tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        layout = tokenizer.layout
        self._by_bytes = '"ByteLevel"' in json.dumps(layout.get("decoder"))
        self._added = {token["id"]: token["content"] for token in layout["added_tokens"]}
        self._control = {token["id"] for token in layout["added_tokens"] if token["special"]}
        self.of = functools.lru_cache(maxsize=65536)(self._of)

    def _of(self, token: int) -> tuple[str, list[int]]:
        """Return a token's text and bytes."""
        spelled = self._bytes(token)
        return spelled.decode("utf-8", errors="replace"), list(spelled)

    def name(self, token: int) -> str:
        """Return what tells a token from all others: its text, or its bytes where they are no text."""
        text, spelled = self.of(token)
        if text.encode() == bytes(spelled):
            return text
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in spelled)

    def is_control(self, token: int) -> bool:
        """Say whether a token is none of a text's own."""
        return token in self._control

    def _bytes(self, token: int) -> bytes:
        if token in self._added:
            return str(self._added[token]).encode()
        text = self._tokenizer.token_text(token) or ""
        if self._by_bytes and all(letter in ALPHABET for letter in text):
            return bytes(ALPHABET[letter] for letter in text)
        if match := BYTE.fullmatch(text):
            return bytes([int(match[1], 16)])
        return text.replace("\u2581", " ").encode()


class Offsets:
    """Where each token begins in the text that tokens make together."""

    def __init__(self) -> None:
        self.end = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def next(self, spelled: Sequence[int]) -> int:
        """Return where a token of these bytes begins: at the character it is the first or a later part of."""
        if spelled and spelled[0] & 0xC0 != 0x80:  # no later part: what is open will never be whole
            self.end += len(self._decoder.decode(b"", final=True))
        begin = self.end
        self.end += len(self._decoder.decode(bytes(spelled)))
        return begin
