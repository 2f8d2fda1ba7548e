"""Tools of users are checked with words that help; arguments fit a schema where jsonschema says so."""

from __future__ import annotations

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.tools.definitions import checked, complete, function_of, misfits, openai_form
from danlu.tools.parse import Call
from danlu.tools.schemas import faults

CITY = {
    "name": "get_weather",
    "description": "Weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def test_both_forms_are_taken_and_one_comes_out():
    outer = {"type": "function", "function": CITY}
    assert checked([CITY]) == checked([outer]) == [outer]
    assert openai_form(CITY) == openai_form(outer) == outer
    assert function_of(outer) == function_of(CITY) == CITY
    assert checked([]) == []
    assert checked([{"name": "now"}])


@pytest.mark.parametrize(
    ("tools", "problem"),
    [
        ({"name": "f"}, "tools: found an object, not a list"),
        (["f"], "tools[0]: found text, not an object"),
        ([CITY, {}], "tools[1].name: is missing"),
        ([{"type": "retrieval"}], "tools[0].type: found 'retrieval'"),
        ([{"type": "function", "function": "f"}], "tools[0].function: found text"),
        ([{"type": "function", "function": {"name": ""}}], "tools[0].function.name: is empty"),
        ([{"name": 7}], "tools[0].name: found a number"),
        ([{"name": "two words"}], "tools[0].name: 'two words' cannot be called"),
        ([{"name": "x" * 129}], "cannot be called"),
        ([CITY, {"type": "function", "function": CITY}], "'get_weather' is the name of tools[0] too"),
        ([{"name": "f", "description": 3}], "tools[0].description: found a number"),
        ([{"name": "f", "strict": "yes"}], "tools[0].strict: found text"),
        ([{"name": "f", "parameters": "none"}], "tools[0].parameters: found text"),
        ([{"name": "f", "parameters": {"type": "array"}}], "tools[0].parameters.type: found 'array'"),
        ([{"name": "f", "parameters": {"properties": []}}], "tools[0].parameters.properties: found a list"),
        (
            [{"name": "f", "parameters": {"properties": {"x": 1}}}],
            "tools[0].parameters.properties.x: found a number",
        ),
        ([{"name": "f", "parameters": {"required": "x"}}], "tools[0].parameters.required: found text"),
        (
            [{"name": "f", "parameters": {"properties": {"x": {}}, "required": ["y"]}}],
            "'y' is not among the properties",
        ),
    ],
)
def test_what_is_no_list_of_tools_is_said_by_place(tools, problem):
    with pytest.raises(UserError) as error:
        checked(tools)
    assert problem in error.value.problem
    assert error.value.hint


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"city": "北京"}, []),
        ({}, ["'city' is missing"]),
        ({"city": 3}, ["'city' is a whole number, not text"]),
        ({"town": "x"}, ["'city' is missing", "there is no argument 'town'; it takes city"]),
        (["北京"], ["the arguments are a list, not an object"]),
    ],
)
def test_arguments_that_do_not_fit_are_told_in_words(arguments, told):
    assert misfits(arguments, CITY) == told


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"city": {}}, "additionalProperties": True},
        {"properties": {"city": {}}, "additionalProperties": {}},
        {"$ref": "#/$defs/town", "$defs": {"town": {"properties": {"town": {"type": "string"}}}}},
        {"allOf": [{"properties": {"town": {"type": "string"}}}]},
        {"patternProperties": {"^t": {}}},
        {"properties": 5, "required": 7, "allOf": 5, "additionalProperties": True},
    ],
)
def test_an_argument_is_unknown_only_where_the_schema_can_tell(schema):
    assert misfits({"town": "x"}, {"name": "f", "parameters": schema}) == []


def test_a_call_is_complete_with_what_its_tool_requires_whatever_form_it_has():
    for call in (
        {"name": "get_weather", "arguments": '{"city": "北京"}'},
        {"function": {"name": "get_weather", "arguments": {"city": "北京"}}},
        Call("get_weather", '{"city": "北京"}'),
    ):
        assert complete(call, CITY)
        assert complete(call, openai_form(CITY))
    for text in ("{}", '{"city": ""}', '{"city": null}', "{", "[]", '"x"', "[" * 100_000):
        assert not complete(Call("get_weather", text), CITY)
    assert complete(Call("get_time", "{}"), {"name": "get_time"})
    assert complete(Call("get_time", ""), {"name": "get_time"}) is False


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-4, 4), st.sampled_from([0.5, 2.0]), st.text("ab", max_size=3)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
)
KINDS = st.sampled_from(["string", "integer", "number", "boolean", "array", "object", "null"])
BOUNDS = st.fixed_dictionaries(
    {},
    optional={
        "type": KINDS | st.lists(KINDS, min_size=1, max_size=2, unique=True),
        "enum": st.lists(SCALARS, min_size=1, max_size=3),
        "minimum": st.integers(-2, 2),
        "exclusiveMaximum": st.integers(-2, 2),
        "minLength": st.integers(0, 2),
        "maxItems": st.integers(0, 2),
        "pattern": st.sampled_from(["^a", "b$"]),
    },
)
SCHEMATA = st.recursive(
    BOUNDS,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": KINDS,
            "properties": st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
            "required": st.lists(st.sampled_from("xyz"), max_size=2, unique=True),
            "additionalProperties": inner,
            "items": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "allOf": st.lists(inner, min_size=1, max_size=2),
        },
    ),
    max_leaves=5,
)


@settings(max_examples=400, deadline=None)
@given(VALUES, SCHEMATA)
def test_a_value_fits_where_jsonschema_says_that_it_does(value, schema):
    assert (faults(value, schema) == []) == jsonschema.Draft202012Validator(schema).is_valid(value), faults(
        value, schema
    )


def test_references_lead_into_the_schema_and_rings_end():
    tree = {
        "$ref": "#/$defs/tree",
        "$defs": {"tree": {"properties": {"left": {"$ref": "#/$defs/tree"}, "n": {"type": "integer"}}}},
    }
    assert faults({"left": {"left": {"n": 1}}}, tree) == []
    assert faults({"left": {"left": {"n": "1"}}}, tree) == ["'left.left.n' is text, not a whole number"]
    assert faults(1, {"$ref": "#"}) == []
    assert faults(1, {"anyOf": [{"$ref": "#"}, {"$ref": "#"}], "allOf": [{"$ref": "#"}] * 3}) == []
    assert faults({"x": 1}, {"$ref": "https://example.com/other"}) == []
