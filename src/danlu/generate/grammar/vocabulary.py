"""A tokenizer's words as the grammar sees them: what each spells, and which are no text.

Every word is a string of symbols: a byte is one character below 256, a word that is not text (a control
token, an added one such as <tool_call>) is the single character 256 + id.

    {"city     7B 22 63 69 74 79          <tool_call>    256 + 2051

`count` says into how few words a text can be cut; `best` finds it from the right, so that what was found
for an ending serves every text with that ending.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Collection, Sequence

import llguidance
import numpy as np

from danlu.base.errors import UserError
from danlu.generate.grammar.lexemes import TOKENS_FROM
from danlu.tokenizer.tokenizer import Tokenizer

NOWHERE = frozenset(map(chr, (0xC0, 0xC1, *range(0xF5, 0x100))))
"""Bytes that stand nowhere in UTF-8. The library marks its tokens by one of them, so no word may hold it."""
WIDEST = 32
"""Symbols of a word that is tried when a text is cut."""


class Vocabulary:
    """All words of one tokenizer, with those that end an answer."""

    def __init__(self, tokenizer: Tokenizer, ends: frozenset[int]) -> None:
        self.size = tokenizer.size
        self.ends = ends
        self.symbols = spellings(tokenizer)
        self.special = {token["content"]: int(token["id"]) for token in tokenizer.layout["added_tokens"]}
        """Added tokens by their text."""
        self.words: dict[str, int] = {}
        for token, word in enumerate(self.symbols):
            if word and token not in ends:
                self.words.setdefault(word, token)
        self.beginnings = {word[:n] for word in self.words for n in range(1, min(len(word), WIDEST) + 1)}
        self.library = self._library(tokenizer)
        self._containing: dict[str, np.ndarray] = {}
        self._starting: dict[str, np.ndarray] = {}

    def _library(self, tokenizer: Tokenizer) -> llguidance.LLTokenizer:
        ends = sorted(self.ends)
        texts = {int(token["id"]): str(token["content"]) for token in tokenizer.layout["added_tokens"]}
        words = _Words(
            [
                texts[token].encode() if token in texts else word.encode("latin-1")
                for token, word in enumerate(self.symbols)
            ],
            sorted(texts),
            ends[0],
        )
        wrapper = llguidance.TokenizerWrapper(words)
        return llguidance.LLTokenizer(wrapper, eos_token=ends)

    @functools.cached_property
    def plain(self) -> np.ndarray:
        """Words of whole characters that a JSON string holds as they are."""
        return np.array([_plain(word) for word in self.symbols], dtype=bool)

    @functools.cached_property
    def shortest(self) -> np.ndarray:
        """Words of one symbol."""
        return np.array([len(word) == 1 for word in self.symbols], dtype=bool)

    def containing(self, symbol: str) -> np.ndarray:
        """Return which words hold a symbol."""
        if symbol not in self._containing:
            self._containing[symbol] = np.array([symbol in word for word in self.symbols], dtype=bool)
        return self._containing[symbol]

    def starting(self, symbol: str) -> np.ndarray:
        """Return which words begin with a symbol."""
        if symbol not in self._starting:
            self._starting[symbol] = np.array([word[:1] == symbol for word in self.symbols], dtype=bool)
        return self._starting[symbol]

    def best(self, chunk: str, tail_text: str, tail_best: Sequence[int]) -> list[int]:
        """Return the fewest words from every place of `chunk + tail` to its end, the tail's being known."""
        text = chunk + tail_text[:WIDEST]
        counts = [0] * len(chunk)
        known = counts + list(tail_best[: WIDEST + 1])
        for at in range(len(chunk) - 1, -1, -1):
            least = NEVER
            for end in range(at + 1, min(at + WIDEST, len(text)) + 1):
                word = text[at:end]
                if word in self.words and known[end] < least:
                    least = known[end]
                if word not in self.beginnings:
                    break
            known[at] = least + 1
        return known[: len(chunk)]

    def count(self, text: str) -> int:
        """Return how many words a text needs at least."""
        return self.best(text, "", [0])[0] if text else 0


NEVER = 1 << 30


class _Words:
    """What the library asks of a tokenizer; it is never asked to cut a text, forced text being ours."""

    def __init__(self, tokens: list[bytes], special: list[int], end: int) -> None:
        self.tokens = tokens
        self.special_token_ids = special
        self.eos_token_id = end
        self.bos_token_id = None

    def __call__(self, text: bytes | str) -> list[int]:
        return []


@functools.lru_cache(maxsize=4)
def vocabulary(tokenizer: Tokenizer, ends: frozenset[int]) -> Vocabulary:
    """Return the words of a tokenizer, made once."""
    return Vocabulary(tokenizer, ends)


def vocabulary_of(tokenizer: Tokenizer, ends: Collection[int] | None = None) -> Vocabulary:
    """Return the words of a tokenizer whose answers end with `ends`, or with its own end tokens."""
    known = frozenset(end for end in ends or () if end < tokenizer.size)
    return vocabulary(tokenizer, known or frozenset({tokenizer.eos_id, tokenizer.pad_id}))


def spellings(tokenizer: Tokenizer) -> list[str]:
    """Return each word's symbols; an unused number, and what no text can hold, has none."""
    layout = tokenizer.layout
    added = {int(token["id"]) for token in layout["added_tokens"]}
    spell = _speller(tokenizer.name, json.dumps(layout.get("decoder")))
    out = []
    for token in range(tokenizer.size):
        text = tokenizer.token_text(token)
        if token in added:
            out.append(chr(TOKENS_FROM + token))
        else:
            word = "" if text is None else spell(text)
            out.append("" if NOWHERE.intersection(word) else word)
    return out


def _speller(name: str, decoder: str) -> Callable[[str], str]:
    if '"ByteLevel"' in decoder:
        return lambda text: "".join(map(_letters().__getitem__, text))
    if '"Metaspace"' in decoder or "\\u2581" in decoder:
        return _metaspace
    raise UserError(
        f"{name}: its words cannot be spelled in bytes, so no answer of it can be held to a grammar",
        "ask without response_format and tool_choice, or use a byte-level or SentencePiece-like tokenizer",
    )


@functools.cache
def _letters() -> dict[str, str]:
    """Return the byte of each letter of the byte-level alphabet (GPT-2's), as symbols."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in set(shown)]
    table = {chr(byte): chr(byte) for byte in shown}
    return table | {chr(256 + place): chr(byte) for place, byte in enumerate(hidden)}


def _metaspace(text: str) -> str:
    if len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
        return chr(int(text[3:5], 16))
    return text.replace("\u2581", " ").encode().decode("latin-1")


def _plain(word: str) -> bool:
    try:
        text = word.encode("latin-1").decode()
    except (UnicodeEncodeError, UnicodeDecodeError):
        return False
    return bool(text) and all(sign >= " " and sign not in '"\\\x7f' for sign in text)
