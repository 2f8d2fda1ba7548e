"""What a record says, and the chats in it."""

from __future__ import annotations

import json

import pytest

from danlu.data.records import (
    Caption,
    Dialogue,
    Label,
    PictureDialogue,
    Preference,
    Prompt,
    Relevance,
    Text,
    Tokens,
    dialogues,
    texts,
)

CALL = {"name": "f", "arguments": {"x": "海"}}
CHAT = [
    {"role": "user", "content": "q"},
    {"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": [CALL]},
    {"role": "tool", "content": ""},
    {"role": "assistant", "content": "a"},
]
SAID = ["q", "hm", json.dumps([CALL], ensure_ascii=False), "a"]
TOOLS = [{"name": "never said"}]


@pytest.mark.parametrize(
    ("record", "said", "chats"),
    [
        (Text("a"), ["a"], 0),
        (Tokens([1, 2]), [], 0),
        (Label("a", "good"), ["a"], 0),
        (Dialogue(CHAT, TOOLS), SAID, 1),
        (Preference(Dialogue(CHAT), Dialogue(CHAT[:1])), [*SAID, "q"], 2),
        (Prompt(CHAT[:1], TOOLS, "a"), ["q"], 1),
        (Caption("a.jpg", ("b", "c")), ["b", "c"], 0),
        (PictureDialogue("a.jpg", CHAT), SAID, 1),
        (Relevance(1, "a", (2,)), ["a"], 0),
        (Relevance(1, None, (2,)), [], 0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_text_and_every_chat_of_a_record_is_told(record, said, chats):
    assert list(texts(record)) == said
    told = list(dialogues(record))
    assert len(told) == chats and all(isinstance(each, Dialogue) for each in told)
    if chats:
        assert [text for each in told for text in texts(each)] == said


def test_tools_that_were_inferred_make_no_other_dialogue():
    assert Dialogue(CHAT, TOOLS, inferred=True) == Dialogue(CHAT, TOOLS)
