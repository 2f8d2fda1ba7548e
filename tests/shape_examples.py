"""Rows of every shape, each with the name of its shape, a purpose it serves and the record it is."""

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
)

TOOL = {"type": "function", "function": {"name": "tide", "parameters": {"type": "object", "properties": {}}}}
CALL = {"type": "function", "function": {"name": "tide", "arguments": {"port": "Brest"}}}
INFERRED = {
    "type": "function",
    "function": {
        "name": "tide",
        "parameters": {"type": "object", "properties": {"port": {"type": "string"}}},
    },
}


def says(role, content, **more):
    return {"role": role, "content": content, **more}


def qa(question, answer, *before):
    return [*before, says("user", question), says("assistant", answer)]


def speaks(*turns_):
    return [{"from": speaker, "value": value} for speaker, value in turns_]


THOUGHT = "<think>\n7 is odd\n</think>\n<answer>\nno\n</answer>"
WRITTEN = "Be kind.\n\n# Tools\n\nYou may call these.\n<tools>\n{}\n</tools>"
SAID_CALL = '<tool_call>\n{"name": "tide", "arguments": {}}\n</tool_call>'
TOOL_CHAT = [
    says("system", WRITTEN),
    says("user", "When is high water?"),
    says("assistant", SAID_CALL),
    says("tool", "17:20"),
    says("assistant", "At 17:20."),
]
GLAIVE = speaks(
    ("human", "When is high water at Brest?"),
    ("function_call", '{"name": "tide", "arguments": {"port": "Brest"}}'),
    ("observation", "17:20"),
    ("gpt", "At 17:20."),
)
GLAIVE_MESSAGES = [
    says("user", "When is high water at Brest?"),
    says("assistant", "", tool_calls=[CALL]),
    says("tool", "17:20"),
    says("assistant", "At 17:20."),
]
XLAM_TOOL = {"name": "tide", "description": "Water.", "parameters": {"port": {"type": "str", "default": "X"}}}
XLAM_SCHEMA = {
    "type": "function",
    "function": {
        "name": "tide",
        "description": "Water.",
        "parameters": {
            "type": "object",
            "properties": {"port": {"type": "string", "default": "X"}},
            "required": [],
        },
    },
}

EXAMPLES = [
    ("pretrain", "pretrain", {"text": "雨停了。"}, Text("雨停了。")),
    ("pretrain content", "pretrain", {"content": "雨停了。"}, Text("雨停了。")),
    ("tokenised rows", "pretrain", {"input_ids": [5, 6, 7], "seq_len": 2}, Tokens([5, 6, 7], 2)),
    ("tokenised rows", "pretrain", {"input_ids": [5, 6, 7], "seq_len": 3}, Tokens([5, 6, 7])),
    ("sft chat", "chat", {"conversations": qa("3+4?", "7")}, Dialogue(qa("3+4?", "7"))),
    (
        "sft chat",
        "chat",
        {"conversations": qa("3+4?", "7", says("system", "Short."))},
        Dialogue(qa("3+4?", "7", says("system", "Short."))),
    ),
    (
        "tool sft",
        "chat",
        {"conversations": qa("3+4?", "7", says("system", "Short.", functions=[TOOL]))},
        Dialogue(qa("3+4?", "7", says("system", "Short.")), [TOOL]),
    ),
    (
        "sft messages",
        "chat",
        {"messages": [says("user", "hey", loss_mask=0), says("assistant", "ho", loss_mask=1)]},
        Dialogue([says("user", "hey", loss_mask=0), says("assistant", "ho", loss_mask=1)]),
    ),
    ("sft messages", "chat", {"messages": qa("a", "b"), "tools": [TOOL]}, Dialogue(qa("a", "b"), [TOOL])),
    (
        "alpaca",
        "chat",
        {"instruction": "翻译", "input": "sea", "output": "海"},
        Dialogue(qa("翻译\nsea", "海")),
    ),
    ("alpaca", "chat", {"instruction": "Sing", "input": "", "output": "La."}, Dialogue(qa("Sing", "La."))),
    (
        "alpaca",
        "chat",
        {"instruction": "c", "output": "d", "system": "s", "history": [["a", "b"]]},
        Dialogue(qa("c", "d", says("system", "s"), *qa("a", "b"))),
    ),
    ("belle", "chat", {"input": "写诗", "target": "月"}, Dialogue(qa("写诗", "月"))),
    (
        "context/target",
        "chat",
        {"context": "Instruction: 翻译\nInput: sea\nAnswer: ", "target": "海"},
        Dialogue(qa("翻译\nsea", "海")),
    ),
    (
        "context/target",
        "chat",
        {"context": "Instruction: Sing\nAnswer: ", "target": "La."},
        Dialogue(qa("Sing", "La.")),
    ),
    ("context/target", "chat", {"context": "Who?", "target": "I."}, Dialogue(qa("Who?", "I."))),
    (
        "adgen",
        "chat",
        {"content": "类型#伞 颜色#蓝", "summary": "一把蓝伞。"},
        Dialogue(qa("类型#伞 颜色#蓝", "一把蓝伞。")),
    ),
    ("reason", "chat", {"conversations": qa("Is 7 even?", THOUGHT)}, Dialogue(qa("Is 7 even?", THOUGHT))),
    ("tool sft", "chat", {"conversations": TOOL_CHAT}, Dialogue(TOOL_CHAT)),
    (
        "sharegpt",
        "chat",
        {"conversations": speaks(("system", "s"), ("human", "a"), ("gpt", "b"))},
        Dialogue(qa("a", "b", says("system", "s"))),
    ),
    ("glaive raw", "chat", {"conversations": GLAIVE}, Dialogue(GLAIVE_MESSAGES, [INFERRED], inferred=True)),
    (
        "glaive raw",
        "chat",
        {"conversations": GLAIVE, "tools": json.dumps([TOOL["function"]])},
        Dialogue(GLAIVE_MESSAGES, [TOOL]),
    ),
    (
        "xlam raw",
        "chat",
        {
            "query": "Tide at Brest?",
            "tools": json.dumps([XLAM_TOOL]),
            "answers": json.dumps([CALL["function"]]),
        },
        Dialogue([says("user", "Tide at Brest?"), says("assistant", "", tool_calls=[CALL])], [XLAM_SCHEMA]),
    ),
    (
        "rlaif",
        "prompt",
        {"conversations": [*qa("a", "b"), *qa("c", "空")]},
        Prompt([*qa("a", "b"), says("user", "c")]),
    ),
    (
        "rlaif",
        "prompt",
        {"conversations": qa("3+4?", "7")},
        Prompt([says("user", "3+4?")], answer="7"),
    ),
    ("sft messages", "prompt", {"messages": [says("user", "q")]}, Prompt([says("user", "q")])),
    (
        "agent rl",
        "prompt",
        {"conversations": qa("6*7?", ""), "gt": 42},
        Prompt([says("user", "6*7?")], answer="42"),
    ),
    (
        "agent rl messages",
        "prompt",
        {"messages": qa("6*7?", "Let me see."), "gt": ["42", "43"], "tools": [TOOL]},
        Prompt([says("user", "6*7?")], [TOOL], '["42", "43"]'),
    ),
    (
        "xlam raw",
        "prompt",
        {"query": "Tide?", "tools": [TOOL], "answers": [CALL]},
        Prompt([says("user", "Tide?")], [TOOL], json.dumps([CALL])),
    ),
    (
        "alpaca",
        "prompt",
        {"instruction": "Sing", "output": "La."},
        Prompt([says("user", "Sing")], answer="La."),
    ),
    (
        "dpo chat",
        "preference",
        {"chosen": qa("q", "good"), "rejected": qa("q", "")},
        Preference(Dialogue(qa("q", "good")), Dialogue(qa("q", ""))),
    ),
    (
        "dpo chat",
        "preference",
        {"prompt": "q", "chosen": [says("assistant", "good")], "rejected": [says("assistant", "bad")]},
        Preference(Dialogue(qa("q", "good")), Dialogue(qa("q", "bad"))),
    ),
    (
        "hh-rlhf",
        "preference",
        {"chosen": "\n\nHuman: q\n\nAssistant: good", "rejected": "\n\nHuman: q\n\nAssistant: bad"},
        Preference(Dialogue(qa("q", "good")), Dialogue(qa("q", "bad"))),
    ),
    (
        "prompt pair",
        "preference",
        {"prompt": "q", "chosen": "good", "rejected": "bad"},
        Preference(Dialogue(qa("q", "good")), Dialogue(qa("q", "bad"))),
    ),
    (
        "alpaca pair",
        "preference",
        {"instruction": "翻译", "input": "sea", "chosen": "海", "rejected": "山", "system": "s"},
        Preference(
            Dialogue(qa("翻译\nsea", "海", says("system", "s"))),
            Dialogue(qa("翻译\nsea", "山", says("system", "s"))),
        ),
    ),
    (
        "sharegpt pair",
        "preference",
        {
            "conversations": speaks(("human", "q")),
            "chosen": {"from": "gpt", "value": "good"},
            "rejected": {"from": "gpt", "value": "bad"},
        },
        Preference(Dialogue(qa("q", "good")), Dialogue(qa("q", "bad"))),
    ),
    (
        "feedback log",
        "preference",
        {"instruct": "i", "input": "x", "model_output": "m", "human_feedback": "h", "is_error": True},
        Preference(Dialogue(qa("i\nx", "h")), Dialogue(qa("i\nx", "m"))),
    ),
    (
        "feedback log",
        "chat",
        {"instruct": "i", "input": "x", "model_output": "m", "human_feedback": "h", "is_error": True},
        Dialogue(qa("i\nx", "h")),
    ),
    (
        "feedback log",
        "chat",
        {"instruct": "i", "input": "", "model_output": "m", "human_feedback": "👍", "is_error": False},
        Dialogue(qa("i", "m")),
    ),
    ("classification", "classify", {"text": "很满意", "label": 1}, Label("很满意", "1")),
    ("classification", "classify", {"text": "fine", "label": "good"}, Label("fine", "good")),
    (
        "clip pairs",
        "caption",
        {"file_path": "img/1.jpg", "prompt": "a kite", "zh_prompt": "风筝"},
        Caption("img/1.jpg", ("a kite", "风筝")),
    ),
    (
        "chinese-clip",
        "retrieval",
        {"text_id": 8, "text": "风筝", "image_ids": [12]},
        Relevance(8, "风筝", (12,)),
    ),
    ("retrieval eval", "retrieval", {"text_id": 8, "image_ids": [12, 7]}, Relevance(8, None, (12, 7))),
    (
        "llava",
        "picture",
        {"image": "1.jpg", "conversations": [{"value": "<image>\n这是什么"}, {"value": "风筝"}]},
        PictureDialogue("1.jpg", qa("<image>\n这是什么", "风筝")),
    ),
]
NAMED = [pytest.param(*example, id=f"{i}-{example[0]}") for i, example in enumerate(EXAMPLES)]
