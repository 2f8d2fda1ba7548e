"""What an answer says in pieces is what it says whole, however its text was cut and gathered."""

import itertools
import json
import random

import pytest

from danlu.generate.engine import Event
from danlu.serve.spelling import Spelling
from danlu.serve.voice import Voice, call_id, finite
from danlu.tools import parse
from generate.models import TOKENIZER

CALLS = (
    '<tool_call>\n{"name": "f", "arguments": {"x": "é"}}\n</tool_call>\n'
    '<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call>'
)
ANSWERS = [
    "",
    "plain",
    "<think>\nhm\n</think>\n\nLet me look.\n" + CALLS,
    CALLS,
    "<think>\nnever done",
    '<tool_call>\n{"na',
]


def events(text, dice, finish="stop"):
    """Cut an answer into tokens' texts; the last token says that it is over."""
    cuts = sorted(dice.choices(range(len(text) + 1), k=dice.randint(0, 12)))
    pieces = [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]
    return [
        Event(0, number, piece, finish if number == len(pieces) - 1 else None)
        for number, piece in enumerate(pieces)
    ]


def voice(**keys):
    numbers = itertools.count()
    return Voice(parse.parser("hermes", "qwen3"), lambda: f"id{next(numbers)}", **keys)


def whole(events, **keys):
    one = voice(**keys)
    return one.message([delta for event in events for delta in one.hear(event)]), one.reason


def streamed(events, dice, **keys):
    """Put a message together from chunks, several tokens in one where the reader is behind."""
    one = voice(**keys)
    said = {"role": "assistant", "content": None, "refusal": None}
    calls = []
    while events:
        count = dice.randint(1, 4)
        told, events = events[:count], events[count:]
        for piece in one.pieces([delta for event in told for delta in one.hear(event)]):
            for key, value in json.loads(piece).items():
                if key != "tool_calls":
                    said[key] = (said.get(key) or "") + value
                    continue
                (call,) = value
                if "id" in call:
                    assert call.pop("index") == len(calls) and call["type"] == "function"
                    calls.append(call)
                else:
                    calls[call["index"]]["function"]["arguments"] += call["function"]["arguments"]
    if calls:
        said["tool_calls"] = calls
    if said["content"] is None and not calls:
        said["content"] = ""
    return said, one.reason


@pytest.mark.parametrize("text", ANSWERS)
@pytest.mark.parametrize("keys", [{}, {"one_call": True}, {"thoughts": False}], ids=str)
def test_pieces_add_up_to_the_whole(text, keys):
    for seed in range(20):
        dice = random.Random(seed)
        cut = events(text, dice)
        assert streamed(cut, dice, **keys) == whole(cut, **keys)


def test_a_message_has_thoughts_content_and_calls_apart():
    message, reason = whole(events(ANSWERS[2], random.Random(0)))
    assert message["reasoning_content"] == message["reasoning"] == "hm"
    assert message["content"] == "Let me look." and reason == "tool_calls"
    names = [
        (call["id"], call["function"]["name"], call["function"]["arguments"])
        for call in message["tool_calls"]
    ]
    assert names == [("id0", "f", '{"x": "é"}'), ("id1", "g", "{}")]
    message, _ = whole(events(ANSWERS[2], random.Random(0)), thoughts=False, one_call=True)
    assert "reasoning_content" not in message and len(message["tool_calls"]) == 1


def test_an_answer_cut_off_says_so_though_it_called():
    assert whole(events(CALLS, random.Random(0), "length"))[1] == "length"
    assert whole(events("plain", random.Random(0)))[1] == "stop"


def test_ids_are_of_the_kind_the_template_takes():
    assert len(call_id("mistral")) == 9 and call_id("mistral").isalnum()
    assert call_id("hermes").startswith("call_") and call_id(None) != call_id(None)


def test_every_word_is_spelled_by_its_bytes():
    spelling = Spelling(TOKENIZER)
    for text in ("plain", " with spaces\n", "钢是铁", "🌊é\t"):
        ids = TOKENIZER.encode(text)
        assert b"".join(bytes(spelling.of(token)[1]) for token in ids).decode() == text
    end = TOKENIZER.token_id("<|im_end|>")
    assert spelling.of(end)[0] == "<|im_end|>"


def test_scores_can_be_said_in_json():
    assert finite(float("-inf")) == finite(None) == -9999.0 and finite(-1.5) == -1.5
