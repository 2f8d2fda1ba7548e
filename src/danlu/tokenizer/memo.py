"""Encode many texts fast: what was encoded before is remembered, piece by piece.

Natural text says the same words over and over, and a byte-level tokenizer cuts and merges each of them
anew. Here a text is cut first where no token can reach across (seams.py),

    The price, 12元,丹炉  ->  The | price |, 12 | 元 |,丹炉

and each piece that is not known yet is encoded, once. This is exact, and done for the tokenizers whose
pattern the reasoning was made for, those of `PATTERNS`; all others encode whole texts.

What is remembered is bounded (`ROOM`) and then forgotten at once, so memory stays flat.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Any

from danlu.tokenizer.seams import Seams
from danlu.tokenizer.tokenizer import Tokenizer

ROOM = 1 << 22  # characters of pieces that are remembered: with their ids, about 100 MB of them
SHORT = 64  # characters; a longer piece hardly comes again

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = {_WORDS + digits + _REST for digits in (r"\p{N}", r"\p{N}{1,3}")}
"""How Qwen, Llama 3 and we cut text, which is what the reasoning above was made for; GPT-2's is built in."""


class Memo:
    """A tokenizer that remembers."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._letter = "H" if tokenizer.size <= 1 << 16 else "i"
        layout = tokenizer.layout
        self._safe = can_be_cut(layout)
        self._seams = Seams(_tokens(layout) if self._safe else ())
        self._known: dict[str, bytes] = {}
        self._room = ROOM

    def encode(self, texts: Sequence[str]) -> list[bytes]:
        """Return the ids of each text, as bytes: 16 bits each, or 32 if the vocabulary is larger."""
        if not self._safe:
            return self._encoded(texts)
        pieces, stops = self._seams.cut(texts)
        known = self._known
        if new := list(set(pieces).difference(known)):
            known.update(zip(new, self._encoded(new)))
        ids = list(map(known.__getitem__, pieces))
        self._forget(new)
        return [b"".join(ids[begin:end]) for begin, end in zip([0, *stops], stops)]

    def _encoded(self, texts: Sequence[str]) -> list[bytes]:
        return [array(self._letter, ids).tobytes() for ids in self._tokenizer.encode_many(texts)]

    def _forget(self, new: Sequence[str]) -> None:
        """Drop long pieces, and everything when there is no more room."""
        for piece in new:
            if len(piece) > SHORT:
                del self._known[piece]
            else:
                self._room -= 8 + len(piece)
        if self._room < 0:
            self._known.clear()
            self._room = ROOM


def spelled() -> dict[str, int]:
    """Return the byte that each letter of the byte-level alphabet stands for."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in set(shown)]
    return {chr(byte): byte for byte in shown} | {chr(256 + at): byte for at, byte in enumerate(hidden)}


def _tokens(layout: dict[str, Any]) -> Iterator[bytes]:
    """Yield the bytes of all that text is put together from; nothing if words may be taken whole."""
    if layout["model"].get("ignore_merges"):
        return
    letters = spelled()
    for token in layout["model"]["vocab"]:
        if all(letter in letters for letter in token):  # others are added as they stand, not merged
            yield bytes(letters[letter] for letter in token)
    for added in _joined(layout):
        yield added["content"].encode()


def _joined(layout: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the tokens that are found in text before anything is cut."""
    return [token for token in layout["added_tokens"] if not token["special"]]


def can_be_cut(layout: dict[str, Any]) -> bool:
    """Whether no token of this tokenizer.json can reach across a seam."""
    model = layout["model"]
    joined = _joined(layout)
    return (
        model.get("type") == "BPE"
        and not any(model.get(key) for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"))
        and (layout.get("normalizer") or {"type": "NFC"})["type"] == "NFC"
        and _known_pattern(layout.get("pre_tokenizer") or {})
        and len(Seams().cut([token["content"] for token in joined])[0]) <= len(joined)
        and not any(token[key] for token in joined for key in ("single_word", "lstrip", "rstrip"))
    )


def _known_pattern(step: dict[str, Any]) -> bool:
    """Whether text is cut by one of PATTERNS, or by GPT-2's, and then only spelled in bytes."""
    if step.get("type") == "ByteLevel":
        return bool(step["use_regex"]) and not step["add_prefix_space"]
    first, *rest = step.get("pretokenizers") or [{}]
    return (
        first.get("type") == "Split"
        and first["pattern"].get("Regex") in PATTERNS
        and first["behavior"] == "Isolated"
        and not first["invert"]
        and [(s["type"], s.get("use_regex"), s.get("add_prefix_space")) for s in rest]
        == [("ByteLevel", False, False)]
    )
