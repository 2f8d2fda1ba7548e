"""What of JSON Schema is kept, what is refused and how it is said, and the pieces below it one by one."""

from __future__ import annotations

import json
import random
import re
from decimal import Decimal

import pytest

pytest.importorskip("llguidance")

from danlu.base.errors import UserError
from danlu.generate.grammar import json_schema
from danlu.generate.grammar.automaton import both, build, excluding
from danlu.generate.grammar.merging import merged
from danlu.generate.grammar.numerals import NUMBER, between, decimals, integers
from danlu.generate.grammar.patterns import pattern
from danlu.generate.grammar.regex import Rep, chars, in_json, inverse, union, utf8, word, words
from generate.adversary import STARTER, UNKIND, answer

OBJECT = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}

REFUSED = {
    "uniqueItems": {"type": "array", "uniqueItems": True},
    "not": {"not": {"type": "null"}},
    "if": {"if": {"type": "null"}, "then": {"type": "null"}},
    "contains": {"type": "array", "contains": {"type": "null"}},
    "propertyNames": {"type": "object", "propertyNames": {"maxLength": 3}},
    "dependentRequired": {"type": "object", "dependentRequired": {"a": ["b"]}},
    "unevaluatedProperties": {"type": "object", "unevaluatedProperties": False},
    "minProperties": {"type": "object", "properties": {"a": {}, "b": {}}, "minProperties": 1},
    "multipleOf": {"type": "number", "multipleOf": 0.1},
    "oneOf": {"oneOf": [{"type": "integer"}, {"type": "number"}]},
    "$ref": {"$ref": "https://example.org/schema"},
    "format": {"type": "string", "format": "iri"},
    "pattern": {"type": "string", "pattern": "(?=a)b"},
    "max_length": {"type": "string", "max_length": 3},
    "nullable": {"type": "string", "nullable": True},
}


@pytest.mark.parametrize("word", REFUSED)
def test_a_keyword_that_cannot_be_kept_is_refused_by_name_and_place(word):
    inside = {"type": "object", "properties": {"deep": {"type": "array", "items": REFUSED[word]}}}
    for schema, place in ((REFUSED[word], "schema"), (inside, "schema/properties/deep/items")):
        with pytest.raises(UserError) as error:
            json_schema(STARTER, schema)
        assert word in error.value.problem and error.value.problem.startswith(f"{place}")
        assert error.value.hint


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "strng"}, "type"),
        ({"type": "string", "minLength": -1}, "minLength"),
        ({"type": "string", "minLength": "3"}, "minLength"),
        ({"type": "string", "pattern": "("}, "pattern"),
        ({"type": "object", "properties": []}, "properties"),
        ({"type": "object", "required": "a"}, "required"),
        ({"enum": []}, "enum"),
        ({"enum": ["\ud800"]}, "half of a character"),
        ({"anyOf": {}}, "anyOf"),
        ({"type": "array", "items": 3}, "schema/items"),
        ({"type": "integer", "minimum": True}, "minimum"),
        ({"type": "integer", "minimum": float("nan")}, "minimum"),
        ({"$ref": "#/$defs/none"}, "names nothing"),
        ({"$ref": "#"}, "finite"),
        ({"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}, "circle"),
        ([], "schema"),
        ("string", "schema"),
    ],
)
def test_a_schema_that_is_none_is_refused(schema, said):
    with pytest.raises(UserError, match=re.escape(said)):
        json_schema(STARTER, schema)


@pytest.mark.parametrize(
    "schema",
    [
        False,
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"type": "number", "exclusiveMinimum": 1, "maximum": 1},
        {"type": "string", "minLength": 3, "maxLength": 2},
        {"type": "string", "pattern": "^abc$", "minLength": 4},
        {"type": "array", "minItems": 2, "maxItems": 1},
        {"type": "array", "items": False, "minItems": 1},
        {"allOf": [{"type": "string"}, {"type": "null"}]},
        {"type": "object", "properties": {"a": False}, "required": ["a"]},
        {"type": "object", "properties": {}, "additionalProperties": False, "required": ["a"]},
        {"enum": ["a"], "type": "integer"},
        {"type": "object", "required": ["a", "b"], "maxProperties": 1},
        {"anyOf": [False, {"type": "integer", "minimum": 3, "maximum": 2}]},
        {
            "$ref": "#/$defs/a",
            "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}, "minItems": 1}},
        },
    ],
)
def test_a_schema_that_nothing_satisfies_is_refused(schema):
    with pytest.raises(UserError, match="satisfies"):
        json_schema(STARTER, schema)


HOSTILE = {
    "endless nesting": json.loads('{"items":' * 400 + "{}" + "}" * 400),
    "wide": {
        "type": "object",
        "properties": {f"p{n}": {"anyOf": [{"type": "string"}] * 30} for n in range(2000)},
    },
    "exploding pattern": {"type": "string", "pattern": "^(a|b)*a(a|b){20}$"},
    "long repetition": {"type": "string", "pattern": "^(([a-z]{100}){100}){100}$"},
    "repetition of nothing": {"type": "string", "pattern": "^(((){2000}){2000}){2000}$"},
    "doubling references": {
        "$ref": "#/$defs/a0",
        "$defs": {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(40)} | {"a40": {}},
    },
    "many required": {
        "type": "object",
        "properties": {f"p{n}": {"type": "integer"} for n in range(600)},
        "required": [f"p{n}" for n in range(300, 600)],
    },
    "many optional": {"type": "object", "properties": {f"p{n}": {"type": "null"} for n in range(5000)}},
    "many places": {"type": "array", "prefixItems": [{"type": "null"}] * 9000},
    "many patterns": {
        "type": "object",
        "properties": {f"p{n}": {"type": "string", "pattern": f"a[ab]{{10}}{n}"} for n in range(200)},
    },
    "a pattern of names that backtracks": {
        "type": "object",
        "properties": {"a" * 60 + "!": {}},
        "patternProperties": {"^(a+)+$": {"type": "integer"}},
    },
    "huge count": {"type": "string", "minLength": 10**9},
    "huge array": {"type": "array", "items": {"type": "string"}, "minItems": 10**9},
    "many alternatives": {"allOf": [{"anyOf": [{"const": n + 10 * k} for n in range(40)]} for k in range(5)]},
    "references to references": {
        "$ref": "#/$defs/a0",
        "$defs": {
            f"a{n}": {"allOf": [{"properties": {f"x{n}": {"$ref": f"#/$defs/a{n + 1}"}}}] * 2}
            for n in range(40)
        }
        | {"a40": {"type": "object"}},
    },
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_schema_costs_little(name, record_property):
    import time

    begin = time.thread_time()
    try:
        grammar = json_schema(STARTER, HOSTILE[name])
        answer(grammar, grammar.least + 20, random.Random(0))
    except UserError:
        pass
    spent = time.thread_time() - begin
    record_property("seconds", spent)
    assert spent < 20


def test_the_largest_counts_are_kept():
    for schema in ({"type": "string", "maxLength": 100_000}, {"type": "array", "maxItems": 10**9}):
        grammar = json_schema(STARTER, schema)
        json.loads(answer(grammar, 60, random.Random(0)))


def test_keys_come_in_the_order_of_the_schema_and_no_further_ones_where_some_are_named():
    schema = {"type": "object", "properties": {"b": True, "a": True}, "required": ["a", "b"]}
    grammar = json_schema(STARTER, schema)
    for seed in range(20):
        assert list(json.loads(answer(grammar, 60, random.Random(seed)))) == ["b", "a"]


def test_a_title_and_its_like_say_nothing():
    told = OBJECT | {
        "title": "T",
        "description": "d",
        "default": {},
        "examples": [],
        "$schema": "x",
        "$comment": "c",
    }
    assert json_schema(STARTER, told).least == json_schema(STARTER, OBJECT).least


def test_two_schemas_that_must_hold_become_one():
    one = {"type": ["string", "integer"], "maxLength": 9, "minimum": 2}
    other = {"type": ["integer", "null"], "maxLength": 4, "minimum": 5}
    assert merged(one, other, "") == {"type": ["integer"], "maxLength": 4, "minimum": 5}
    assert merged(True, other, "") == other and merged(one, False, "") is False
    closed = {"properties": {"a": {}}, "additionalProperties": False}
    assert merged(closed, {"properties": {"b": {}}}, "")["properties"] == {"a": {}, "b": False}


def accepts(expression, text):
    return build(expression).accepts(text.encode())


def test_whole_numbers_within_bounds_are_just_those():
    draw = random.Random(0)
    for _ in range(150):
        low = draw.randint(-1200, 1200)
        high = low + draw.choice([0, 1, 9, 100, draw.randint(0, 2000)])
        step = draw.choice([1, 1, 1, 2, 7])
        automaton = build(integers(low, high, step))
        for value in {
            low - 1,
            low,
            high,
            high + 1,
            0,
            *(draw.randint(low - 50, high + 50) for _ in range(40)),
        }:
            assert automaton.accepts(str(value).encode()) == (low <= value <= high and value % step == 0), (
                value
            )
    assert not accepts(between(0, 99), "007") and not accepts(between(5, 99), "05")
    assert accepts(integers(None, 3), "-99999") and not accepts(integers(None, 3), "4")


def test_fractions_within_bounds_are_just_those():
    draw = random.Random(1)
    for _ in range(120):
        low = Decimal(draw.choice([0, 1, -3, 10])) + Decimal(draw.randint(0, 999)) / 10 ** draw.randint(0, 3)
        high = low + Decimal(draw.randint(0, 500)) / 10 ** draw.randint(0, 3)
        ends = draw.random() < 0.5, draw.random() < 0.5
        if low == high and any(ends):
            continue
        automaton = decimals(low, high, *ends).automaton
        assert not automaton.empty
        near = [low, high, *(bound + Decimal(d) / 1000 for bound in (low, high) for d in (-1, 1))]
        for value in [
            *near,
            *(Decimal(draw.randint(-4000, 12000)) / 10 ** draw.randint(0, 3) for _ in range(40)),
        ]:
            inside = (low < value or (low == value and not ends[0])) and (
                value < high or (value == high and not ends[1])
            )
            assert automaton.accepts(f"{value:f}".encode()) == inside, (value, low, high, ends)


@pytest.mark.parametrize("text", ["0", "-0", "10", "1.5", "1e5", "1.25E-10", "-3.0e+7"])
def test_numbers_are_written_as_json_has_them(text):
    assert accepts(NUMBER, text)
    for broken in (f"0{text}", f"+{text}", f"{text}.", f"{text}e", f" {text}"):
        assert not accepts(NUMBER, broken)


PATTERNS = ["a", "^a", "a$", "^a$", "^a|b$", "^(a|bc)+$", "x{2,3}", "^[^a-c]$", "\\d\\D", "^\\w+\\W\\w+$",
            "^\\S+$", "^.$", "^[\\s\\S]{2}$", "",
            "^$", "(^a)", "^(?:a|b)?c", "[-a]", "^a.c$", "北|京", "^\\x41\\u0042$"]  # fmt: skip


@pytest.mark.parametrize("text", PATTERNS)
def test_a_pattern_finds_only_what_python_finds_and_almost_all_of_it(text):
    automaton, draw = build(pattern(text, "here")), random.Random(text)
    found = missed = 0
    for _ in range(400):
        sign = "abcxABC 1_-\n北京é" + chr(draw.randint(32, 0x2FFF))
        tried = "".join(draw.choice(sign) for _ in range(draw.randint(0, 4)))
        theirs = re.search(text, tried) is not None
        assert theirs or not automaton.accepts(tried.encode()), tried
        found += theirs
        missed += theirs and not automaton.accepts(tried.encode())
    assert missed < found or not found


def test_automata_multiply_and_exclude():
    small, short = build(Rep(chars("a-z"), 0, None)), build(Rep(chars("a-z0-9"), 2, 3))
    assert both(small, short).accepts(b"abc") and not both(small, short).accepts(b"a1")
    rest = excluding(short, build(words(["abc", "no"])))
    assert rest.accepts(b"ab") and not rest.accepts(b"abc") and not rest.accepts(b"no")
    assert excluding(small, small).empty


def test_every_state_knows_the_shortest_way_to_an_end():
    automaton = build(Rep(words(["ab", "abcd", "x"]), 2, 5))
    assert automaton.shortest(0) == "xx"
    for state in range(len(automaton.rows)):
        way = automaton.shortest(state)
        assert len(way) == automaton.far[state] <= automaton.farthest
        if way:
            assert automaton.shortest(automaton.rows[state][ord(way[0])]) == way[1:]


def test_code_points_are_spelled_as_python_spells_them():
    draw = random.Random(2)
    for _ in range(60):
        low = draw.choice([0, 0x70, 0x7FE, 0xE000, 0xFFF0, draw.randint(0xE000, 0x10FFFF)])
        high = min(0x10FFFF, low + draw.choice([0, 1, 70, 5000, 0x20000]))
        if low < 0xE000 <= high or 0xD800 <= low < 0xE000:
            continue
        runs = utf8(low, high)
        for code in {low, high, (low + high) // 2, max(0, low - 1), min(0x10FFFF, high + 1)}:
            if 0xD800 <= code < 0xE000:
                continue
            raw = chr(code).encode()
            held = any(
                len(run) == len(raw) and all(a <= b <= c for b, (a, c) in zip(raw, run)) for run in runs
            )
            assert held == (low <= code <= high), hex(code)


def test_ranges_join_and_turn_inside_out():
    assert union(((1, 2), (9, 9)), ((3, 4),)) == ((1, 4), (9, 9))
    assert inverse(inverse(((5, 7), (10, 10)))) == ((5, 7), (10, 10))


def test_text_in_a_string_has_one_spelling_and_is_read_back():
    for sign in map(chr, [*range(0x250), 0x2028, 0x4E00, 0x1F600]):
        automaton = build(in_json(word(sign)))
        if automaton.empty:
            assert sign < " " or sign == "\x7f"
        else:
            way = automaton.shortest(0).encode("latin-1").decode()
            assert json.loads(f'"{way}"') == sign


def test_an_unkind_answerer_of_nested_optional_things_always_ends():
    schema = {"type": "object", "properties": {f"p{n}": OBJECT for n in range(12)}}
    grammar = json_schema(STARTER, schema)
    for seed in range(30):
        json.loads(answer(grammar, grammar.least + seed, random.Random(seed), UNKIND[seed % len(UNKIND)]))
