"""Tools and calls out of rows that write them down in other ways."""

from __future__ import annotations

import json

import pytest

from danlu.data.records import recognise
from danlu.data.shapes.frames import lifted
from danlu.data.shapes.xlam import schema
from danlu.tokenizer.chat import render
from danlu.tokenizer.tokenizer import Tokenizer

STARTER = Tokenizer.load("starter")
TIDE = {"name": "tide", "description": "高潮 <when>", "parameters": {"type": "object", "properties": {}}}
MOON = {"type": "function", "function": {"name": "moon", "parameters": {"type": "object", "properties": {}}}}
HERMES = (
    "You are a function calling AI model. You are provided with function signatures within <tools> </tools> "
    "XML tags. You may call one or more functions.\n<tools> [%s] </tools>\nFor each call return:\n"
    "<tool_call>\n{'arguments': <args-dict>, 'name': <function-name>}\n</tool_call>"
)


def speaks(*turns, **more):
    return {"conversations": [{"from": speaker, "value": value} for speaker, value in turns], **more}


def record(row):
    return recognise(row, "chat")[1]


def rendered(system, tools):
    messages = [{"role": "system", "content": system}] * bool(system) + [{"role": "user", "content": "?"}]
    whole = render(STARTER, messages, tools)
    return whole.removeprefix("<|im_start|>system\n").partition("<|im_end|>")[0]


@pytest.mark.parametrize("system", ["", "Be brief.", "One\n\ntwo\n"])
@pytest.mark.parametrize("tools", [[MOON], [TIDE, MOON], [TIDE, TIDE, MOON]])
def test_what_our_template_writes_out_is_read_back(system, tools):
    bare = [tool.get("function", tool) for tool in tools]
    assert lifted(rendered(system, tools)) == (system, bare)


@pytest.mark.parametrize(
    "text",
    ["Be brief.", "# Tools\n\nuse <tools>", HERMES % "not json", "x" + rendered("", [MOON]), HERMES % ""],
)
def test_a_text_in_no_known_frame_stays(text):
    assert lifted(text) == (text, None)


def test_tools_of_hermes_leave_the_system_text_and_its_calls_become_calls():
    said = '<tool_call>\n{"arguments": {"port": "Brest"}, "name": "tide"}\n</tool_call>'
    result = "<tool_response>\n17:20\n</tool_response>"
    chat = record(
        speaks(
            ("system", HERMES % json.dumps(TIDE)),
            ("human", "High water?"),
            ("gpt", f"Let me see.\n{said}\n{said}\n"),
            ("tool", f"{result}\n{result}"),
            ("gpt", "At 17:20."),
        )
    )
    call = {"type": "function", "function": {"name": "tide", "arguments": {"port": "Brest"}}}
    assert chat.tools == [{"type": "function", "function": TIDE}] and not chat.inferred
    assert chat.messages == [
        {"role": "user", "content": "High water?"},
        {"role": "assistant", "content": "Let me see.", "tool_calls": [call, call]},
        {"role": "tool", "content": "17:20"},
        {"role": "tool", "content": "17:20"},
        {"role": "assistant", "content": "At 17:20."},
    ]


@pytest.mark.parametrize(
    "said",
    [
        "<tool_call>\n{'arguments': {}, 'name': tide()}\n</tool_call>",
        '<tool_call>{"name": "tide", "arguments": {}}</tool_call> and so on',
        '<tool_call>{"name": "tide"}</tool_call>',
        "write <tool_call> to call",
    ],
)
def test_text_that_only_looks_like_a_call_stays_text(said):
    chat = record(speaks(("human", "q"), ("gpt", said)))
    assert chat.messages[1] == {"role": "assistant", "content": said} and chat.tools is None


def test_calls_and_tools_that_python_printed_are_read_like_json():
    call = {"arguments": {"port": "l'Île", "now": True, "days": None}, "name": "tide"}
    said = f"<tool_call>\n{call}\n</tool_call>"
    chat = record(speaks(("system", HERMES % TIDE), ("human", "High water?"), ("gpt", said)))
    assert chat.messages[-1]["tool_calls"] == [{"type": "function", "function": call}]
    assert chat.tools == [{"type": "function", "function": TIDE}]


def test_functions_of_glaive_leave_the_system_text():
    system = "You are a helpful assistant with access to the following functions. Use them if required -\n"
    chat = record(speaks(("system", system + json.dumps(TIDE, indent=1) * 2), ("human", "q"), ("gpt", "a")))
    assert chat.messages[0] == {"role": "system", "content": "You are a helpful assistant."}
    assert [tool["function"] for tool in chat.tools] == [TIDE, TIDE]


def test_tools_written_in_an_unknown_frame_are_said_once():
    chat = record(
        speaks(("system", "Use <tools>[]</tools>."), ("human", "q"), ("gpt", "a"), tools=json.dumps([TIDE]))
    )
    assert chat.tools is None and chat.messages[0]["content"] == "Use <tools>[]</tools>."


def test_tools_nobody_wrote_down_are_told_from_the_calls_and_this_is_known():
    call = [
        {"name": "tide", "arguments": {"port": "Brest", "days": 2, "when": None}},
        {"name": "tide", "arguments": '{"port": "Nantes", "days": 2.5, "unit": "m"}'},
    ]
    chat = record(
        speaks(
            ("human", "q"),
            ("gpt", "Let me see."),
            ("function_call", json.dumps(call)),
            ("function_call", '{"name": "moon", "arguments": {}}'),
            ("observation", "x"),
            ("gpt", "a"),
        )
    )
    assert chat.inferred and chat.messages[1]["content"] == "Let me see."
    assert len(chat.messages) == 4 and len(chat.messages[1]["tool_calls"]) == 3
    assert {
        tool["function"]["name"]: tool["function"]["parameters"]["properties"] for tool in chat.tools
    } == {
        "tide": {"port": {"type": "string"}, "days": {}, "when": {}, "unit": {"type": "string"}},
        "moon": {},
    }


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("str", {"type": "string"}),
        ("int, optional", {"type": "integer"}),
        ("List[str]", {"type": "array", "items": {"type": "string"}}),
        ("Optional[float]", {"type": "number"}),
        ("Dict[str, int]", {"type": "object"}),
        ("List[Dict]", {"type": "array", "items": {"type": "object"}}),
        ("boolean", {"type": "boolean"}),
        ("Callable", {}),
    ],
)
def test_types_of_python_become_types_of_json(written, wanted):
    tool = schema({"name": "f", "parameters": {"x": {"type": written, "description": "d"}}})
    parameters = tool["function"]["parameters"]
    assert parameters["properties"]["x"] == {"description": "d", **wanted}
    assert parameters["required"] == ([] if "ptional" in written else ["x"])


def test_a_schema_that_is_one_already_stays():
    assert schema(MOON) is MOON
    assert schema(TIDE) == {"type": "function", "function": TIDE}


def test_the_weight_of_a_turn_is_kept():
    row = speaks(("human", "q"), ("gpt", "a"), ("human", "r"), ("gpt", "b"))
    row["conversations"][0]["weight"] = row["conversations"][1]["weight"] = 0
    assert [message.get("loss_weight") for message in record(row).messages] == [None, 0, None, None]
