"""Encode many texts fast: what was encoded before is remembered, piece by piece.

Natural text says the same words over and over, and a byte-level tokenizer cuts and merges each of them
anew. Here a text is cut first, wherever a letter or digit is followed by a sign or a space,

    The price, he said,丹炉  ->  The | price | , he | said |,丹炉

and each piece that is not known yet is encoded, once. This is exact because for the tokenizers of `PATTERNS`
no token can reach across such a cut: no part of their pattern goes on behind a letter or digit with a
sign, none looks back, and merging never leaves what the pattern cut. Only letters, digits and signs that
no Unicode version disagrees about are cut between. All other tokenizers encode whole texts.

What is remembered is bounded (`ROOM`) and then forgotten at once, so memory stays flat.
"""

from __future__ import annotations

import itertools
import re
from array import array
from collections.abc import Sequence
from typing import Any

from danlu.tokenizer.tokenizer import Tokenizer

ROOM = 1 << 22  # characters of pieces that are remembered: with their ids, about 100 MB of them
SHORT = 64  # characters; a longer piece hardly comes again
_ASCII = "".join(chr(code) for code in range(128) if not chr(code).isalnum())
SIGNS = re.escape(_ASCII + "，。！？、；：“”（）《》…")
CUT = re.compile(rf"(?<=[0-9A-Za-z\u4e00-\u9fa5])(?=[{SIGNS}])")

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_SIGNS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = {_WORDS + digits + _SIGNS for digits in (r"\p{N}", r"\p{N}{1,3}")}
"""How Qwen, Llama 3 and we cut text, which is what the reasoning above was made for; GPT-2's is built in."""


class Memo:
    """A tokenizer that remembers."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._letter = "H" if tokenizer.size <= 1 << 16 else "i"
        self._safe = can_be_cut(tokenizer.layout)
        self._known: dict[str, bytes] = {}
        self._room = ROOM

    def encode(self, texts: Sequence[str]) -> list[bytes]:
        """Return the ids of each text, as bytes: 16 bits each, or 32 if the vocabulary is larger."""
        if not self._safe:
            return self._encoded(texts)
        cut = [CUT.split(text) for text in texts]
        known = self._known
        new = [piece for piece in dict.fromkeys(itertools.chain.from_iterable(cut)) if piece not in known]
        told = dict(zip(new, self._encoded(new)))
        known.update(told)
        out = [b"".join(map(known.__getitem__, pieces)) for pieces in cut]
        self._forget(new)
        return out

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


def can_be_cut(layout: dict[str, Any]) -> bool:
    """Whether no token of this tokenizer.json can reach across a `CUT`."""
    model = layout["model"]
    joined = [token for token in layout["added_tokens"] if not token["special"]]
    return (
        model.get("type") == "BPE"
        and not any(model.get(key) for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"))
        and (layout.get("normalizer") or {"type": "NFC"})["type"] == "NFC"
        and _known_pattern(layout.get("pre_tokenizer") or {})
        and not any(CUT.search(token["content"]) for token in joined)
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
