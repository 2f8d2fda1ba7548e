"""The small bilingual text the starter tokenizer is trained on: what our grammars write.

Every sentence of the grammar is told several times with other words in its slots, every word is told by
itself (common ones oftener), and so are chats with tool schemas, calls and results, thoughts and answers.
Then come rows of the starter sets, the names of their little world, and their tools, so that what a
starter set speaks of is written in few tokens.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

from danlu.starter import chats, tools
from danlu.starter import texts as prose
from danlu.starter.grammar import EXTRA, Grammar, tell
from danlu.starter.reckoning import COMPUTED, Row
from danlu.starter.world import LANGUAGES, World

TELLINGS = 4  # of each sentence
CHATS = 40  # in each language
WEIGHT = {"common": 24, "characters": 24}  # how often a word list is told, when not thrice
ROWS = {prose.pretrain: 700, chats.sft: 400, chats.reason: 100, chats.identity: 40}  # in each language
NAMES = 24  # how often each name of the little world is told
TOOL_CHATS = 300


def texts(seed: int = 0) -> Iterator[str]:
    """Yield the whole corpus, the same for the same seed.

    >>> next(texts()) == next(texts())
    True
    """
    words: set[str] = set()
    for number, language in enumerate(LANGUAGES):
        grammar, world = Grammar(LANGUAGES[language], seed + number), World(language)
        told = [grammar.fill(sentence) for sentence in grammar.sentences for _ in range(TELLINGS)]
        told += [grammar.chat() for _ in range(CHATS)]
        told += list(starter(world, seed + number))
        names = {name for rows in listed(world) for row in rows for name in row.values()}
        words |= {w for kind in grammar.words.values() for w in kind if is_chinese(w[0])}
        words |= {name for name in names if is_chinese(name[0])}
        for text in told:
            yield from cut(text, words)
        for kind, known in grammar.words.items():
            for word in known if kind not in EXTRA else ():
                yield from [spaced(word)] * WEIGHT.get(kind, 3)
        for name in sorted(names):
            yield from [spaced(name)] * NAMES
    for text in tool_texts(seed):
        yield from cut(text, words)


def listed(world: World) -> list[list[Row]]:
    """Return the rows of the little world that are not computed from others."""
    return [rows for section, rows in world.rows.items() if section not in COMPUTED]


def starter(world: World, seed: int) -> Iterator[str]:
    """Yield what rows of a starter set say."""
    dice = random.Random(seed)
    for make, count in ROWS.items():
        for _ in range(count):
            row = make([world], dice, False)
            yield row["text"] if "text" in row else said(row["conversations"])


def tool_texts(seed: int) -> Iterator[str]:
    """Yield the tools of the starter sets and the chats that call them, as the template writes them."""
    for row in tools.dialogues(random.Random(seed), False, TOOL_CHATS):
        yield from map(tell, row.get("tools") or ())
        yield said(row["messages"])


def said(messages: list[dict[str, Any]]) -> str:
    """Return what a chat says, a line a message, in the words of the chat template.

    >>> said([{"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": [{"name": "now"}]}])
    'user\\nhi\\nassistant\\n<tool_call>\\n{"name": "now"}\\n</tool_call>'
    """
    lines = []
    for message in messages:
        lines.append("user" if message["role"] == "tool" else message["role"])
        if content := message.get("content"):
            lines.append(
                f"<tool_response>\n{content}\n</tool_response>" if message["role"] == "tool" else content
            )
        lines += [f"<tool_call>\n{tell(each)}\n</tool_call>" for each in message.get("tool_calls") or ()]
    return "\n".join(lines)


def spaced(word: str) -> str:
    """Return a word as it stands in a text: with a space before it, unless it is Chinese."""
    return word if is_chinese(word[0]) else " " + word


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
