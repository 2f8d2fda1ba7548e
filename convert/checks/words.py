"""Words: the same vocabulary, the same template, and the same ids for whole chats in transformers' hands."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tokenizers

from convert.checks import config
from convert.checks.case import Case, Fault, Faults
from convert.checks.peer import load_words
from convert.reading import read_json
from danlu.base.errors import UserError
from danlu.tokenizer.chat import encode_chat
from danlu.tokenizer.speech import ASKED, TOOL
from danlu.tokenizer.template import Message
from danlu.tokenizer.tokenizer import Tokenizer

TEXTS = [
    "The first leaves are the finest.",
    "春天采茶，头采最好。  两个空格",
    "line\n\n\ttab\r\n  end ",
    "Well , it 's so . Is n't it ? Yes !",
    "def f(x):\n    return x ** 2  # 平方",
    "1234567890 3.14159 ½ ① 👩‍👩‍👧‍👦 é e\u0301 ﷺ",
    "",
]
GENERAL = ("TokenizersBackend", "PreTrainedTokenizerFast")
"""Classes that do what tokenizer.json says and no more."""
CLEANS = "clean_up_tokenization_spaces"
"""Where a vocabulary says so itself, transformers writes its words otherwise than they were."""
SYSTEM: Message = {"role": "system", "content": "You are brief. 请简短。"}
QUESTION: Message = {"role": "user", "content": "1+1?\n等于几？"}
ANSWER: Message = {"role": "assistant", "content": "2。"}
THOUGHT: Message = {"role": "assistant", "content": "2", "reasoning_content": "One and one."}
RESULT: Message = {"role": "tool", "tool_call_id": "abcdefghi", "name": "weather_of", "content": "晴 25°C"}
WAYS: tuple[dict[str, Any], ...] = ({}, {"add_generation_prompt": True}, {"enable_thinking": False})
CHATS: list[dict[str, Any]] = [
    {"messages": [QUESTION]},
    {"messages": [QUESTION, ANSWER]},
    {"messages": [SYSTEM, QUESTION, ANSWER, QUESTION]},
    {"messages": [QUESTION, THOUGHT, QUESTION]},
    {"messages": ASKED[:1], "tools": [TOOL]},
    {"messages": [SYSTEM, *ASKED, RESULT, ANSWER, QUESTION], "tools": [TOOL]},
]


def check(case: Case) -> Faults:
    """Yield where words would come out as other tokens than in training."""
    ours = case.recipe.source.tokenizer
    if ours is None:
        return
    faults = list(_files(case, ours))
    yield from faults
    if faults:  # whatever it is, the ids would only show it again
        return
    theirs = load_words(case.folder)
    for text in TEXTS:
        found = theirs.encode(text, add_special_tokens=False)
        if found != ours.encode(text):
            problem = f"{text!r} becomes {found}, in training it was {ours.encode(text)}"
            yield Fault("tokenizer.json", problem + _reader(theirs, case.recipe.family.model_type))
        elif (said := theirs.decode(found)) != ours.decode(found) and not ours.settings.get(CLEANS):
            yield Fault(
                "tokenizer_config.json", f"{found} is written {said!r}, and is {ours.decode(found)!r}"
            )
    chats = list(_chats(theirs, ours)) if ours.template else []
    for _, fault in chats:
        if fault:
            yield fault
    case.measured["words"] = {"texts": len(TEXTS), "chats": sum(compared for compared, _ in chats)}


def _files(case: Case, ours: Tokenizer) -> Faults:
    try:
        written = Tokenizer.load(case.folder)
    except UserError as error:
        yield Fault("tokenizer.json", error.problem)
        return
    if written.template != ours.template:
        found, wanted = written.template or "", ours.template or ""
        yield Fault("chat_template.jinja", _first_difference(found, wanted))
    inside = read_json(case.folder / "tokenizer_config.json").get("chat_template", ours.template)
    if inside != ours.template:
        yield Fault("tokenizer_config.json: chat_template", "is not the one of chat_template.jinja")
    same = written.fingerprint == ours.fingerprint
    if not same and (case.ours or _meaning(written) != _meaning(ours)):
        yield Fault("tokenizer.json", "is another vocabulary than the model was trained with")
    if case.ours:
        yield from _letters(case, ours)


def _letters(case: Case, ours: Tokenizer) -> Faults:
    """Yield every key of tokenizer_config.json that is not as we write it."""
    name = "tokenizer_config.json"
    with tempfile.TemporaryDirectory() as place:
        ours.save(Path(place))
        yield from config.compare(name, read_json(case.folder / name), read_json(Path(place) / name))


def _reader(theirs: Any, model_type: str) -> str:
    """Return what is to blame where transformers has a class of its own for a family's words."""
    name = type(theirs).__name__
    if name in GENERAL:
        return ""
    return f"; transformers takes its {name} for any {model_type}, whatever tokenizer_config.json says"


def _meaning(words: Tokenizer) -> tuple[Any, ...]:
    """Return what a tokenizer.json says, however it is written: others put down what does nothing too."""
    inner = tokenizers.Tokenizer.from_str(json.dumps(words.layout))
    inner.no_truncation()
    inner.no_padding()
    around = inner.encode(TEXTS[0]).ids
    return (
        json.loads(inner.to_str()) | {"post_processor": None},
        around,
        words.bos_id,
        words.eos_id,
        words.pad_id,
    )


def _chats(theirs: Any, ours: Tokenizer) -> Iterator[tuple[int, Fault | None]]:
    """Yield (1 if it could be compared, what is wrong) for each way of asking."""
    for chat in CHATS:
        for more in WAYS:
            messages, tools = chat["messages"], chat.get("tools")
            try:
                wanted = encode_chat(ours, messages, tools, **more).ids
            except UserError:  # a template that refuses this chat in training refuses it in serving
                yield 0, None
                continue
            found = theirs.apply_chat_template(
                messages, tools=tools, tokenize=True, return_dict=False, **more
            )
            place = f"chat_template.jinja: {len(messages)} messages{', tools' if tools else ''} {more or ''}"
            problem = f"becomes {list(found)[:40]}..., in training it was {wanted[:40]}..."
            yield 1, None if list(found) == wanted else Fault(place.strip(), problem)


def _first_difference(found: str, wanted: str) -> str:
    for number, (here, there) in enumerate(zip(found.splitlines(), wanted.splitlines()), 1):
        if here != there:
            return f"line {number}: is {here!r}, in training it was {there!r}"
    return f"has {len(found):,} characters, in training it was {len(wanted):,}"
