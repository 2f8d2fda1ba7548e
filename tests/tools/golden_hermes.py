"""Answers with calls as JSON between tags, and with thoughts before them."""

from __future__ import annotations

import json
from typing import Any

from tools.golden import (
    ADVANCES,
    AFTER,
    ALL_TEXT,
    BARE,
    BEIJING,
    BRACE,
    HALF_TOLD,
    IN_STRING,
    STRING,
    TAG_LOST,
    TIME,
    Answer,
)


def hermes(name: str, /, **arguments: Any) -> str:
    written = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{written}\n</tool_call>"


ANSWERS = [
    Answer("hermes", "It is sunny. 晴。", "It is sunny. 晴。"),
    Answer("hermes", "  \n", "  \n"),
    Answer("hermes", "1 < 2 and <b>bold</b> <tool", "1 < 2 and <b>bold</b> <tool", streamed=TAG_LOST),
    Answer("hermes", hermes("get_weather", city="北京"), calls=[BEIJING]),
    Answer("hermes", "Let me look.\n" + hermes("get_weather", city="北京"), "Let me look.", [BEIJING]),
    Answer("hermes", "\n\n" + hermes("get_weather", city="北京") + "\n", calls=[BEIJING]),
    Answer(
        "hermes",
        f"{hermes('get_weather', city='北京')}\n{hermes('get_time')}\n{hermes('note', tags=['b', {'c': 1}])}",
        calls=[BEIJING, TIME, ("note", {"tags": ["b", {"c": 1}]})],
    ),
    Answer("hermes", '<tool_call>{"name":"get_time","arguments":{}}</tool_call>', calls=[TIME]),
    Answer(
        "hermes",
        hermes("note", text='quotes " and \\ and {braces} ]\n'),
        calls=[("note", {"text": 'quotes " and \\ and {braces} ]\n'})],
    ),
    Answer(
        "hermes", hermes("note", text="name", at=-1.5e3), calls=[("note", {"text": "name", "at": -1500.0})]
    ),
    Answer(
        "hermes",
        hermes("note", name="x", arguments={"name": "y"}),
        calls=[("note", {"name": "x", "arguments": {"name": "y"}})],
    ),
    Answer("hermes", hermes("get_time") + "\nDone.", "\nDone.", [TIME], whole=AFTER, streamed=AFTER),
    Answer("hermes", '<tool_call>\n{"name": "get_time", "arguments": {}}', calls=[TIME]),
    Answer(
        "hermes",
        '<tool_call>\n{"name": "get_time", "arguments": {}}\n</tool_',
        calls=[TIME],
        whole="a cut off tag makes the object unreadable, and the call text",
    ),
    Answer(
        "hermes",
        '<tool_call>{"arguments": {"city": "北京"}, "name": "get_weather"}</tool_call>',
        calls=[BEIJING],
        streamed="what follows the arguments is told as part of them",
    ),
    Answer(
        "hermes",
        '<tool_call>{"name": "get_weather", "arguments": {"city": "北京"}, "id": 7}</tool_call>',
        calls=[BEIJING],
        streamed="what follows the arguments is told as part of them",
    ),
    Answer(
        "hermes", '<tool_call>{"name": "get_time", "arguments": null}</tool_call>', calls=[("get_time", None)]
    ),
    Answer(
        "hermes",
        '<tool_call>{"name": "get_time"}</tool_call>',
        calls=[TIME],
        whole=BARE,
        streamed="no arguments are told at all, not even {}",
    ),
    Answer(
        "hermes",
        '<tool_call>{"name": "get_weather", "arguments": "{\\"city\\": \\"北京\\"}"}</tool_call>',
        calls=[BEIJING],
        whole=STRING,
        streamed=STRING,
    ),
    Answer(
        "hermes",
        hermes("note", text="say </tool_call> and go on"),
        calls=[("note", {"text": "say </tool_call> and go on"})],
        whole=IN_STRING,
        streamed=IN_STRING,
    ),
    Answer(
        "hermes",
        '<tool_call>\n{"name": "get_time", "arguments": {}}}\n</tool_call>',
        "}\n",
        [TIME],
        whole=BRACE,
        streamed=BRACE,
    ),
    Answer(
        "hermes",
        "<tool_call>\nnothing like JSON\n</tool_call>",
        "<tool_call>\nnothing like JSON\n</tool_call>",
        streamed=HALF_TOLD,
    ),
    Answer(
        "hermes",
        '<tool_call>\n{"nome": "x"}\n</tool_call>',
        '<tool_call>\n{"nome": "x"}\n</tool_call>',
        streamed=HALF_TOLD,
    ),
    Answer(
        "hermes",
        '<tool_call>\n{"name": 7, "arguments": {}}\n</tool_call>',
        '<tool_call>\n{"name": 7, "arguments": {}}\n</tool_call>',
        streamed=HALF_TOLD,
    ),
    Answer("hermes", '<tool_call>\n{"name": "get_wea', '<tool_call>\n{"name": "get_wea', streamed=HALF_TOLD),
    Answer(
        "hermes",
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "北',
        calls=[("get_weather", '{"city": "北')],
        whole=ADVANCES,
    ),
    Answer(
        "hermes",
        hermes("get_time") + '\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "北',
        calls=[TIME, ("get_weather", '{"city": "北')],
        whole=ALL_TEXT,
    ),
    Answer(
        "hermes",
        hermes("get_time") + "\n<tool_call>\n{oops}\n</tool_call>",
        "\n<tool_call>\n{oops}\n</tool_call>",
        [TIME],
        whole=ALL_TEXT,
        streamed=HALF_TOLD,
    ),
    Answer(
        "hermes",
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "北京}}\n</tool_call>\n'
        + hermes("get_time"),
        calls=[("get_weather", '{"city": "北京}}'), TIME],
        whole=ALL_TEXT,
    ),
    Answer(
        "hermes",
        "thinking\n</think>\n\nHello.",
        "Hello.",
        reasoning="thinking",
        thoughts="qwen3",
        thinking=True,
    ),
    Answer(
        "hermes",
        "<think>\nthinking\n</think>\n\nHello.",
        "Hello.",
        reasoning="thinking",
        thoughts="qwen3",
        thinking=True,
    ),
    Answer("hermes", "<think>\n\n</think>\n\nHello.", "Hello.", thoughts="qwen3", thinking=True),
    Answer("hermes", "endless", reasoning="endless", thoughts="qwen3", thinking=True),
    Answer("hermes", "<think>\nendless </thi", reasoning="endless </thi", thoughts="qwen3", thinking=True),
    Answer("hermes", "Hello.", "Hello.", thoughts="qwen3"),
    Answer(
        "hermes",
        "<think>\nunasked\n</think>\n\nHello.",
        "Hello.",
        reasoning="unasked",
        thoughts="qwen3",
        whole="thoughts that nobody asked for are text",
        streamed="thoughts that nobody asked for are text",
    ),
    Answer(
        "hermes",
        "so a tool\n</think>\n\n" + hermes("get_weather", city="北京"),
        calls=[BEIJING],
        reasoning="so a tool",
        thoughts="qwen3",
        thinking=True,
    ),
    Answer(
        "hermes",
        "so a tool\n" + hermes("get_time"),
        calls=[TIME],
        reasoning="so a tool",
        thoughts="qwen3",
        thinking=True,
    ),
    Answer(
        "hermes",
        "I could write <tool_call> here.\n</think>\n\nNo.",
        "No.",
        reasoning="I could write <tool_call> here.",
        thoughts="qwen3",
        thinking=True,
        whole="the tag alone ends the thoughts; what follows is text",
        streamed="the tag alone ends the thoughts; what follows is swallowed",
    ),
    Answer("hermes", "thinking\n</think>\n\nHello.", "Hello.", reasoning="thinking", thoughts="deepseek_r1"),
    Answer(
        "hermes",
        "<think>\nthinking\n</think>\nHello.",
        "Hello.",
        reasoning="thinking",
        thoughts="deepseek_r1",
    ),
    Answer("hermes", "endless", reasoning="endless", thoughts="deepseek_r1"),
    Answer("hermes", "a </think>" + hermes("get_time"), calls=[TIME], reasoning="a ", thoughts="deepseek_r1"),
    Answer(
        "hermes", "see " + hermes("get_time"), reasoning="see " + hermes("get_time"), thoughts="deepseek_r1"
    ),
]
