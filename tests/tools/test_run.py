"""Tools that run answer every call with JSON, in time and in bounds, and say what was wrong with it."""

from __future__ import annotations

import json
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.tools import classic
from danlu.tools.definitions import checked
from danlu.tools.run import Tool, Toolbox, Toolboxes

BOX = classic.toolbox()


def answer(name, arguments, box=BOX):
    return json.loads(box.call(name, arguments))


def one(run, **properties):
    return Toolbox(
        [Tool({"name": "f", "parameters": {"properties": properties}}, run)], longest=100, seconds=0.2
    )


def test_definitions_are_what_a_request_takes():
    assert checked(BOX.definitions()) == BOX.definitions()
    names = [each["function"]["name"] for each in BOX.definitions()]
    assert names == ["get_weather", "calculate", "search", "get_time"]


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("get_wether", {}, "did you mean 'get_weather'"),
        ("launch_rocket", {}, "one of: calculate, get_time, get_weather, search"),
        ("get_weather", "{", "are no JSON"),
        ("get_weather", "[1]", "are not an object"),
        ("get_weather", '"北京"', "are not an object"),
        ("get_weather", {}, "'city' is missing"),
        ("get_weather", {"city": ["北京"]}, "'city' is a list, not text"),
        ("get_weather", {"city": "北京", "day": "today"}, "no argument 'day'; it takes city"),
        ("get_weather", "[" * 100_000, "nested too deep"),
    ],
)
def test_a_wrong_call_is_answered_with_what_to_mend(name, arguments, words):
    assert words in answer(name, arguments)["error"]


@pytest.mark.parametrize("nothing", ["", "  ", None, "null", "{}", {}])
def test_no_arguments_may_be_said_in_any_way(nothing):
    assert "time" in answer("get_time", nothing)


def test_a_tool_that_fails_or_takes_too_long_is_answered_for():
    held = threading.Event()
    assert (
        "ValueError: broken"
        in answer("f", {}, one(lambda: (_ for _ in ()).throw(ValueError("broken"))))["error"]
    )
    assert "within 0.2 s" in answer("f", {}, one(held.wait))["error"]
    held.set()


def test_a_long_answer_is_cut_and_says_so():
    cut = answer("f", {}, one(lambda: "x" * 1000))
    assert cut == {"result": "x" * 100, "note": "cut after 100 of 1,000 letters"}
    assert answer("f", {}, one(lambda: {"rows": ["y" * 90] * 9}))["result"].startswith('{"rows": ["yyy')


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("get_weather", r'{"city": "\ud800"}'), ("get_time", r'{"\ud800": 1}'), ("calculate", "\ud800")],
)
def test_half_a_character_comes_back_as_an_escape_that_can_be_sent(name, arguments):
    assert "error" in json.loads(BOX.call(name, arguments).encode())


def test_of_several_boxes_the_earlier_one_answers():
    first, second = one(lambda: "first"), one(lambda: "second")
    both = Toolboxes(first, second, BOX)
    assert answer("f", {}, both) == "first"
    assert answer("calculate", {"expression": "1"}, both) == {"result": "1"}
    assert len(both.definitions()) == 5
    assert "there is no tool 'g'" in answer("g", {}, both)["error"]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["get_weather", "calculate", "search", "get_time"]),
    st.one_of(
        st.text(max_size=40),
        st.dictionaries(st.sampled_from(["city", "expression", "query", "timezone"]), st.text()),
    ),
)
def test_whatever_is_asked_is_answered_with_an_object(name, arguments):
    assert isinstance(answer(name, arguments), dict)
