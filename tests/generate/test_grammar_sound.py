"""What is given for a schema may be anything: it is kept to, or refused in words."""

from __future__ import annotations

import json
import random
import re

import pytest

pytest.importorskip("llguidance")

from danlu.base.errors import UserError
from danlu.generate.grammar import json_schema, tool_calls
from danlu.generate.grammar.compiled import value_node
from danlu.generate.grammar.patterns import finds
from generate.adversary import STARTER, answer

NO_SCHEMAS = [
    5,
    "x",
    None,
    [],
    [5],
    {"a": 5},
    10**400,
    1e308,
    1.5,
    float("nan"),
    {"type": 5},
    {"$ref": 5},
    "(",
]
KEYWORDS = (
    "properties required additionalProperties patternProperties maxProperties items prefixItems minItems"
    " maxItems minLength maxLength pattern format minimum exclusiveMaximum multipleOf type enum const anyOf"
    " oneOf allOf $ref"
).split()
WELL = {
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "items": {"type": "integer"},
    "anyOf": [{"type": "string"}, {"type": "integer"}],
    "multipleOf": 0.5,
}


def muddled(draw, depth=0):
    """Return what might pass for a schema."""
    if depth > 2 or draw.random() < 0.1:
        return draw.choice(NO_SCHEMAS)
    found = {}
    for key in draw.sample(KEYWORDS, draw.randint(1, 4)):
        inner = muddled(draw, depth + 1)
        kinds = [inner, [inner, muddled(draw, depth + 1)], {"a": inner}, WELL.get(key, inner)]
        found[key] = draw.choice([*kinds, draw.choice(NO_SCHEMAS)])
    return found


def test_whatever_is_given_for_a_schema_is_kept_or_refused():
    draw, kept = random.Random(5), 0
    for _ in range(6000):
        schema = muddled(draw)
        try:
            value_node(schema, "schema")
            kept += 1
        except UserError:
            pass
    assert kept > 50


def test_counts_may_be_written_with_a_point():
    schema = {
        "type": "array",
        "items": {"type": "string", "maxLength": 2.0},
        "minItems": 2.0,
        "maxItems": 3.0,
    }
    for seed in range(20):
        found = json.loads(answer(json_schema(STARTER, schema), 60, random.Random(seed)))
        assert 2 <= len(found) <= 3 and all(len(text) <= 2 for text in found)


@pytest.mark.parametrize("schema", [{"const": float("nan")}, {"enum": [1, [float("inf")]]}])
def test_values_that_json_cannot_say_are_refused(schema):
    with pytest.raises(UserError, match="what JSON can say"):
        json_schema(STARTER, schema)


@pytest.mark.parametrize(
    ("pattern", "name", "found"),
    [("^x_", "x_1", True), ("^x_", "ax_", False), ("b", "abc", True), (r"^\w+$", "a_1", True),
     (r"^\W$", "a", False), (".", "城", True), ("城", "大城市", True), (r"^\d", "城", False)],
)  # fmt: skip
def test_names_are_matched_as_python_matches_them(pattern, name, found):
    assert finds(pattern, name, "here") is found is (re.search(pattern, name) is not None)


@pytest.mark.parametrize(
    ("pattern", "name"), [(r"^\w$", "城"), (r"\d", "٣"), (r"^\W$", "é"), (r"^[^\s]$", "\x1c")]
)
def test_a_name_of_which_readers_think_differently_is_refused(pattern, name):
    with pytest.raises(UserError, match="readers differ"):
        finds(pattern, name, "here")


@pytest.mark.parametrize(
    "schema", [{"properties": {"\ud800": {}}}, {"const": ["\udfff"]}, {"pattern": "\ud9ab"}]
)
def test_halves_of_characters_are_refused(schema):
    with pytest.raises(UserError, match="half of a character"):
        json_schema(STARTER, schema)
    tool = {"name": "f", "parameters": {"type": "object"} | schema, "strict": True}
    with pytest.raises(UserError, match="half of a character"):
        tool_calls(STARTER, "hermes", [{"type": "function", "function": tool}], "required")
