"""The small bilingual text the starter tokenizer is trained on: what our grammar writes.

Every sentence of the grammar is told several times with other words in its slots, every word is told by
itself (common ones oftener), and so are chats with tool schemas, calls and results, thoughts and answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from danlu.starter.grammar import EXTRA, Grammar

TELLINGS = 4  # of each sentence
CHATS = 40  # in each language
WEIGHT = {"common": 24, "characters": 24}  # how often a word list is told, when not thrice


def texts(seed: int = 0) -> Iterator[str]:
    """Yield the whole corpus, the same for the same seed.

    >>> next(texts()) == next(texts())
    True
    """
    for grammar in (Grammar("chinese", seed), Grammar("english", seed + 1)):
        told = [grammar.fill(sentence) for sentence in grammar.sentences for _ in range(TELLINGS)]
        told += [grammar.chat() for _ in range(CHATS)]
        words = {w for kind in grammar.words.values() for w in kind if is_chinese(w[0])}
        for text in told:
            yield from cut(text, words)
        for kind, listed in grammar.words.items():
            for word in listed if kind not in EXTRA else ():
                yield from [word if is_chinese(word[0]) else " " + word] * WEIGHT.get(kind, 3)


def is_chinese(letter: str) -> bool:
    return "\u4e00" <= letter <= "\u9fff"


def cut(text: str, words: set[str]) -> list[str]:
    """Return the text with its Chinese cut into known words and single characters.

    Chinese has no spaces, so merges would otherwise run across words and learn the sentences of this
    small corpus by heart. English needs no help: its words are cut by the tokenizer itself.

    >>> cut("我们喜欢tea", {"我们", "喜欢"})
    ['我们', '喜欢', 'tea']
    """
    known = "|".join(sorted(words, key=lambda w: (-len(w), w)))
    return re.findall(rf"{known}|[\u4e00-\u9fff]|[^\u4e00-\u9fff]+" if known else r"(?s).+", text)
