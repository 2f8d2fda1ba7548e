"""Characters that nobody sees and a model learns all the same, and control tokens that somebody typed.

Each kind is a pattern; `strange` says of a text what of each it holds. Not strange are the joiners
inside emoji and the scripts that need them, and the tags that spell a flag.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]"
RETURN = r"\r"
BIDI = r"[\u202a-\u202e\u2066-\u2069]"
LATIN_OR_CHINESE = r"(?<![^\x00-\u024f\u3000-\u9fff\uff00-\uffef])"
ZERO_WIDTH = (
    rf"[\u00ad\u200b\u2060-\u2064\ufeff]|{LATIN_OR_CHINESE}[\u200c\u200d]"
    r"|(?<![\U0001F3F4\U000E0020-\U000E007E])[\U000E0000-\U000E007F]"
)
LOST = "\ufffd"


class Kind(NamedTuple):
    """One kind of strange character."""

    pattern: re.Pattern[str]
    what: str
    remedy: str


KINDS = {
    "control characters": Kind(re.compile(CONTROL), "control characters", "--fix takes them out"),
    "zero-width characters": Kind(re.compile(ZERO_WIDTH), "characters without width", "--fix takes them out"),
    "bidi characters": Kind(
        re.compile(BIDI), "characters that turn the direction of writing", "--fix takes them out"
    ),
    "carriage returns": Kind(re.compile(RETURN), "carriage returns", "--fix leaves the line feeds only"),
    "lost characters": Kind(
        re.compile(LOST), "characters that an earlier conversion lost", "convert the source again"
    ),
}
ANY = re.compile("|".join(kind.pattern.pattern for kind in KINDS.values()))
UNSEEN = re.compile("|".join((CONTROL, ZERO_WIDTH, BIDI)))
TYPED = r"<\|[A-Za-z0-9_]{2,40}\|>|<｜[^｜\s]{1,40}｜>|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>"


def strange(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield name, finding and remedy of each kind of strange character in a text.

    >>> [name for name, _, _ in strange("a\\x00b 👨‍👩‍👧")]
    ['control characters']
    """
    if ANY.search(text) is None:
        return
    for name, kind in KINDS.items():
        if found := kind.pattern.findall(text):
            signs = ", ".join(f"U+{ord(sign):04X}" for sign in sorted(set(found))[:3])
            yield name, f"holds {kind.what}: {len(found):,} times {signs}", kind.remedy


def without_unseen(text: str) -> str:
    """Return a text without its unseen characters, its lines ended by line feeds.

    >>> without_unseen("a\\r\\n\\u200bb\\0")
    'a\\nb'
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
    return UNSEEN.sub("", text)


def typed_control(names: Iterable[str]) -> re.Pattern[str]:
    """Return what finds a control token written as text: those of this tokenizer, and well-known others."""
    own = [re.escape(name) for name in sorted(names, key=len, reverse=True)]
    return re.compile("|".join([*own, TYPED]))
