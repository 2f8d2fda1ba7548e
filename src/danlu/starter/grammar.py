"""A grammar of our own: word lists, sentences with slots, and what chats look like.

    words/chinese.txt      == time          words, separated by spaces ('|' is a space inside one)
    words/english.txt      == sentences     one a line; {time} stands for any word of that list
                           == code          one a line; \\n is a line's end

Randomness comes from `random()` of a seeded generator alone, whose values Python promises never to change,
so what is written is always the same.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent / "words"

TOOLS = {
    "get_weather": {"city": "place", "date": "time"},
    "get_time": {"city": "place"},
    "calculate": {"expression": "sum"},
    "convert_unit": {"value": "number", "from_unit": "unit", "to_unit": "unit"},
    "convert_currency": {"amount": "number", "from": "money", "to": "money"},
    "add_event": {"title": "thing", "date": "date", "time": "clock"},
    "search": {"query": "thing"},
    "translate": {"text": "thing", "target_language": "language"},
    "send_message": {"to": "person", "text": "thing"},
    "get_news": {"topic": "thing"},
}
EXTRA = {
    "unit": "km m cm mile kg g pound litre celsius fahrenheit hour minute second".split(),
    "money": "CNY USD EUR GBP JPY HKD KRW".split(),
    "language": "Chinese English French German Japanese".split(),
}


class Grammar:
    """One language's words and sentences, and the dice that choose among them."""

    def __init__(self, name: str, seed: int) -> None:
        self.words: dict[str, list[str]] = {key: list(value) for key, value in EXTRA.items()}
        self.sentences: list[str] = []
        self.dice = random.Random(seed)
        for title, body in sections((FOLDER / f"{name}.txt").read_text(encoding="utf-8")):
            if title in ("sentences", "code"):
                self.sentences += [line.replace("\\n", "\n") for line in body.splitlines()]
            elif title == "characters":
                self.words[title] = list(body)
            else:
                self.words[title] = [word.replace("|", " ") for word in body.split()]

    def below(self, limit: int) -> int:
        return int(self.dice.random() * limit)

    def word(self, kind: str) -> str:
        """Return one word of a kind, or a number, a date, a clock time, a sum."""
        if kind == "digit":
            return str(self.below(10))
        if kind == "number":
            return str(self.below(10 ** (1 + self.below(4))))
        if kind == "date":
            return f"20{self.below(100):02d}-{1 + self.below(12):02d}-{1 + self.below(28):02d}"
        if kind == "clock":
            return f"{self.below(24):02d}:{self.below(60):02d}"
        if kind == "sum":
            return f"{self.word('number')} {'+-*/'[self.below(4)]} {self.word('number')}"
        return self.words[kind][self.below(len(self.words[kind]))]

    def fill(self, sentence: str) -> str:
        """Return the sentence with a word in every slot; braces that are no slot stay."""
        known = {*self.words, "digit", "number"}
        return re.sub(r"\{(\w+)\}", lambda m: self.word(m[1]) if m[1] in known else m[0], sentence)

    def sentence(self) -> str:
        return self.fill(self.sentences[self.below(len(self.sentences))])

    def chat(self) -> str:
        """Return a dialogue: a schema, a call, its result, thoughts and an answer."""
        name = list(TOOLS)[self.below(len(TOOLS))]
        kinds = TOOLS[name]
        schema = {
            "type": "function",
            "function": {
                "name": name,
                "description": self.sentence().split("\n")[0],
                "parameters": {
                    "type": "object",
                    "properties": {key: {"type": "string"} for key in kinds},
                    "required": list(kinds),
                },
            },
        }
        call = {"name": name, "arguments": {key: self.word(kind) for key, kind in kinds.items()}}
        result = {
            "result": self.word("number"),
            "unit": self.word("unit"),
            "ok": self.below(2) == 0,
            "error": None,
        }
        turns = [
            f"system\n# Tools\n\n<tools>\n{tell(schema)}\n</tools>\n",
            f"user\n{self.sentence()}",
            f"assistant\n<think>\n{self.sentence()}\n</think>\n\n<tool_call>\n{tell(call)}\n</tool_call>",
            f"user\n<tool_response>\n{tell(result)}\n</tool_response>",
            f"assistant\n<think>\n{self.sentence()}\n</think>\n<answer>\n{self.sentence()}\n</answer>",
        ]
        return "\n".join(turns)


def tell(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def sections(text: str) -> Iterator[tuple[str, str]]:
    """Yield the title and the body of every section of a word file."""
    for part in re.split(r"^== ", text, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        yield title.strip(), body.strip()
