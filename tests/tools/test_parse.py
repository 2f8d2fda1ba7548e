"""Answers are taken apart alike whole and in pieces, lose nothing, and are told as they come."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.tools.formats import FORMATS
from danlu.tools.parse import CallArguments, CallBegin, Content, parse, parser, together
from tools import golden_hermes, golden_others
from tools.golden import TOOLS

ANSWERS = [*golden_hermes.ANSWERS, *golden_others.ANSWERS]
PLAIN = ["<think>", "</think>", "\n", " ", "<", "é", "😀", "北京", "f", "city"]
OBJECTS = [
    *(
        '{"name": "f", "arguments": {"x": 1}}',
        '{"name": "f", "arguments": ',
        '{"x": "',
        '"',
        "}",
        "{",
        "]",
        "[",
    ),
    *(
        '"name": ',
        '"arguments": ',
        ': "g"',
        '{"arguments": {"y": [1]}, "name": "g"}',
        "\\",
        "\\u00e9",
        ",",
        "null",
    ),
]
PIECES = {
    "hermes": ["<tool_call>", "</tool_call>", "<tool_", "call>", "</", *OBJECTS],
    "qwen3_coder": [
        *("<tool_call>", "</tool_call>", "<function=", "</function>", "<parameter=", "</parameter>", ">"),
        *("<function=get_weather>", "<parameter=city>", "<parameter=days>", "12"),
    ],
    "glm45": [
        *(
            "<tool_call>",
            "</tool_call>",
            "get_weather",
            "<arg_key>",
            "</arg_key>",
            "<arg_value>",
            "</arg_value>",
        ),
        *("days</arg_key>", "12"),
    ],
    "mistral": ["[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "f", *OBJECTS],
    "deepseek_v3": [
        *("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"),
        *("function<｜tool▁sep｜>f\n```json\n", "\n```", *OBJECTS),
    ],
    "internlm": ["<|action_start|><|plugin|>", "<|action_end|>", "<|", *OBJECTS],
    "phi4_mini_json": ["functools[", *OBJECTS],
    "llama3_json": ["<|python_tag|>", "; ", *OBJECTS],
    "pythonic": [
        *(
            "[f(x=1)",
            "[get_weather(city='北",
            "京')",
            ", g()]",
            "note(text=",
            "None",
            "=",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
        ),
        *("'", '"', "\\", ",", "x=", "-1"),
    ],
}
FORMAT = st.sampled_from([*PIECES])
CASES = FORMAT.flatmap(lambda format: st.tuples(st.just(format), texts([*PLAIN, *PIECES[format]])))
THOUGHTS = st.sampled_from([None, "qwen3", "deepseek_r1"])
MANY = settings(max_examples=300, deadline=None)


def texts(pieces):
    return st.lists(st.sampled_from(pieces), max_size=14).map("".join)


def arrived(text, cuts, format, thoughts, thinking=False):
    """The deltas of a text that arrives cut at some places."""
    reader = parser(format, thoughts, thinking=thinking, tools=TOOLS)
    deltas = []
    for start, stop in zip([0, *cuts], [*cuts, len(text)]):
        deltas += reader.push(text[start:stop])
    return deltas + reader.flush()


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda each: f"{each.format}-{each.text[:50]!r}")
def test_answers_say_what_they_say(answer):
    told = parse(answer.text, answer.format, answer.thoughts, thinking=answer.thinking, tools=TOOLS)
    calls = [(call.name, call.arguments) for call in told.calls]
    for number, (_, wanted) in enumerate(answer.calls):
        if not isinstance(wanted, str):
            calls[number] = (calls[number][0], json.loads(calls[number][1]))
    assert (told.content, told.reasoning, calls) == (answer.content, answer.reasoning, answer.calls)


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda each: f"{each.format}-{each.text[:50]!r}")
def test_an_answer_cut_off_anywhere_and_arriving_in_any_pieces_says_the_same(answer):
    how = (answer.format, answer.thoughts, answer.thinking)
    for length in range(len(answer.text) + 1):
        text = answer.text[:length]
        whole = together(arrived(text, [], *how))
        assert together(arrived(text, range(1, length), *how)) == whole
        assert together(arrived(text, range(3, length, 3), *how)) == whole


def test_every_format_is_tried():
    assert set(PIECES) == set(FORMATS)


@MANY
@given(CASES, THOUGHTS, st.booleans(), st.randoms(use_true_random=False))
def test_any_text_cut_anywhere_says_the_same(case, thoughts, thinking, chance):
    format, text = case
    cuts = sorted(chance.randrange(len(text) + 1) for _ in range(chance.randrange(8)))
    whole = parse(text, format, thoughts, thinking=thinking, tools=TOOLS)
    assert together(arrived(text, cuts, format, thoughts, thinking)) == whole
    assert together(arrived(text, range(1, len(text)), format, thoughts, thinking)) == whole


@MANY
@given(CASES, THOUGHTS, st.booleans())
def test_calls_are_told_in_order_their_names_first_and_nothing_is_told_that_is_nothing(
    case, thoughts, thinking
):
    format, text = case
    calls = 0
    for delta in arrived(text, range(1, len(text)), format, thoughts, thinking):
        if isinstance(delta, CallBegin):
            assert delta.name and delta.index == calls
            calls += 1
        elif isinstance(delta, CallArguments):
            assert delta.text and delta.index == calls - 1
        else:
            assert delta.text


def words(pieces):
    """Pieces of a format with words between them; none of them is part of an object's quotes."""
    whole = [
        piece for piece in pieces if '"' not in piece.replace('{"name": "f", "arguments": {"x": 1}}', "")
    ]
    return st.lists(st.sampled_from([*whole, "kiwi", "kiwi", "kiwi", "\n"]), max_size=14)


@MANY
@given(FORMAT.flatmap(lambda format: st.tuples(st.just(format), words(PIECES[format]))), THOUGHTS)
def test_no_word_is_lost_and_none_is_said_twice(case, thoughts):
    format, pieces = case
    text = "".join(f" kiwi{number} " if piece == "kiwi" else piece for number, piece in enumerate(pieces))
    told = parse(text, format, thoughts, tools=TOOLS)
    calls = "".join(f" {each.name} {each.arguments} " for each in told.calls)
    said = f"{told.content} {told.reasoning} {calls}"
    assert sorted(re.findall(r"kiwi\d+", said)) == sorted(re.findall(r"kiwi\d+", text))


def test_arguments_come_as_they_are_written():
    reader = parser("hermes", None)
    assert reader.push('<tool_call>\n{"name": "note", "arguments": {"text": "') == [
        CallBegin(0, "note"),
        CallArguments(0, '{"text": "'),
    ]
    assert reader.push("one ") == [CallArguments(0, "one ")]
    assert reader.push("two\\") == [CallArguments(0, "two")]
    assert reader.push('" three"}') == [CallArguments(0, '\\" three"}')]
    assert reader.push('}\n</tool_call>\n<tool_call>{"name": "get_time", "arguments": {}') == [
        CallBegin(1, "get_time"),
        CallArguments(1, "{}"),
    ]
    assert reader.push("}</tool_call>") == reader.flush() == []


@pytest.mark.parametrize("format", ["qwen3_coder", "glm45"])
def test_text_spelled_out_comes_as_it_is_written_and_numbers_once_they_are_complete(format):
    marks = {
        "qwen3_coder": ("<tool_call><function=get_weather>", "<parameter={}>", "</parameter>"),
        "glm45": ("<tool_call>get_weather\n", "<arg_key>{}</arg_key><arg_value>", "</arg_value>"),
    }
    opening, before, after = marks[format]
    reader = parser(format, None, tools=TOOLS)
    begun = reader.push(opening + before.format("city"))
    assert begun == [CallBegin(0, "get_weather"), CallArguments(0, '{"city": "')]
    assert reader.push('"北') == [CallArguments(0, '\\"北')]
    assert reader.push(after + before.format("days") + "1") == [CallArguments(0, '", "days": ')]
    assert reader.push("2") == []
    assert reader.push(after) == [CallArguments(0, "12")]


@pytest.mark.parametrize(
    ("format", "text"),
    [
        ("pythonic", r'[f(x=["\ud800"])]'),
        ("qwen3_coder", r'<tool_call><function=f><parameter=x>["\ud800"]</parameter></function></tool_call>'),
        ("glm45", r'<tool_call>f<arg_key>x</arg_key><arg_value>["\ud800"]</arg_value></tool_call>'),
    ],
)
def test_half_a_character_in_arguments_stays_an_escape(format, text):
    tools = [{"name": "f", "parameters": {"properties": {"x": {"type": "array"}}}}]
    assert [call.arguments for call in parse(text, format, tools=tools).calls] == [r'{"x": ["\ud800"]}']


def test_text_is_held_back_only_while_it_may_become_a_mark():
    reader = parser("hermes", "qwen3")
    assert reader.push("1 <") == [Content("1")]
    assert reader.push(" 2 <tool") == [Content(" < 2")]
    assert reader.push("box> ") == [Content(" <toolbox>")]
    assert reader.flush() == [Content(" ")]


def test_an_object_that_is_no_call_is_text_as_soon_as_that_is_known():
    reader = parser("llama3_json", None)
    assert reader.push('{"answer"') == []
    assert reader.push(": 4") == [Content('{"answer": 4')]
    assert reader.push("2") == [Content("2")]


@pytest.mark.parametrize("pieces", ["text", "call", "spelled"])
def test_a_long_answer_costs_what_its_text_costs(pieces):
    """Eight times the tokens take about eight times the work, not sixty-four: nothing is read again."""
    texts = {
        "text": ("", "some words < and more "),
        "call": ('<tool_call>{"name": "f", "arguments": {"x": "', "words and more "),
        "spelled": ("<function=f><parameter=x>", "words < and more "),
    }
    opening, token = texts[pieces]

    def seconds(count):
        reader = parser("qwen3_coder" if pieces == "spelled" else "hermes", "qwen3")
        reader.push(opening)
        began = time.thread_time()
        for _ in range(count):
            reader.push(token)
        return time.thread_time() - began

    assert min(seconds(16000) for _ in range(3)) < 32 * min(seconds(2000) for _ in range(3))


def test_an_argument_that_comes_all_at_once_costs_what_its_text_costs():
    """No line of it is the price of all the text that is behind it."""

    def seconds(count):
        lines = 50 * count * "line\n"
        whole = f'<tool_call>{{"name": "f", "arguments": {{"x": "{lines}"}}}}</tool_call>'
        began = time.thread_time()
        parse(whole, "hermes")
        return time.thread_time() - began

    assert min(seconds(4000) for _ in range(2)) < 24 * min(seconds(500) for _ in range(2))


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("hermess", None), "there is no tool parser 'hermess'"),
        (("hermes", "qwen"), "there is no reasoning parser 'qwen'"),
    ],
)
def test_a_name_that_is_not_known_is_said(names, problem):
    with pytest.raises(UserError) as error:
        parser(*names)
    assert error.value.problem == problem
    assert "did you mean" in error.value.hint
