"""How a single token is written: for log-probabilities, where each token stands alone.

A token may be a part of a character. Its text then holds a replacement sign; its bytes tell the truth, and
the bytes of an answer's tokens, one after the other, are the bytes of the answer.
"""

from __future__ import annotations

import functools
import json
import re

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
        self.of = functools.lru_cache(maxsize=65536)(self._of)

    def _of(self, token: int) -> tuple[str, list[int]]:
        """Return a token's text and bytes."""
        spelled = self._bytes(token)
        return spelled.decode("utf-8", errors="replace"), list(spelled)

    def _bytes(self, token: int) -> bytes:
        if token in self._added:
            return str(self._added[token]).encode()
        text = self._tokenizer.token_text(token) or ""
        if self._by_bytes and all(letter in ALPHABET for letter in text):
            return bytes(ALPHABET[letter] for letter in text)
        if match := BYTE.fullmatch(text):
            return bytes([int(match[1], 16)])
        return text.replace("\u2581", " ").encode()
