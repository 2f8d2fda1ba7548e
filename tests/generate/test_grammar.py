"""Answers held to JSON and to schemas: whatever is drawn, they are whole in time, parse and satisfy."""

from __future__ import annotations

import json
import random
import re
from datetime import date, datetime, time
from urllib.parse import urlsplit

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("llguidance")

from danlu.base.errors import UserError
from danlu.generate.grammar import TooShort, json_object, json_schema
from danlu.generate.grammar.patterns import FORMATS
from danlu.generate.grammar.vocabulary import vocabulary_of
from generate.adversary import STARTER, UNKIND, allowed, answer, spelled, tokens, with_marks
from generate.schemas import AS_WRITTEN, DEFS, TREE, WEATHER, drawn


def check(text, schema):
    jsonschema.validate(
        json.loads(text),
        schema,
        cls=jsonschema.Draft202012Validator,
        format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
    )


@pytest.mark.parametrize("name", AS_WRITTEN)
def test_every_answer_is_whole_parses_and_satisfies_its_schema(name):
    schema, draw = AS_WRITTEN[name], random.Random(name)
    grammar = json_schema(STARTER, schema)
    for more in (0, 0, 1, 2, 5, 10, 30, 100):
        check(answer(grammar, grammar.least + more, draw, draw.choice(UNKIND)), schema)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 10**9))
def test_random_schemas_meet_an_unkind_answerer(seed):
    draw = random.Random(seed)
    schema = drawn(draw)
    schema = {**schema, "$defs": DEFS} if isinstance(schema, dict) else schema
    try:
        grammar = json_schema(STARTER, schema)
    except UserError:
        return
    for more in (0, 1, 3, 20):
        check(answer(grammar, grammar.least + more, draw, draw.choice(UNKIND)), schema)


@pytest.mark.slow
def test_a_thousand_random_schemas():
    refused = 0
    for seed in range(1000):
        draw = random.Random(seed)
        schema = drawn(draw)
        schema = {**schema, "$defs": DEFS} if isinstance(schema, dict) else schema
        try:
            grammar = json_schema(STARTER, schema)
        except UserError:
            refused += 1
            continue
        for more in (0, 0, 1, 3, 10, 40):
            check(answer(grammar, grammar.least + more, draw, draw.choice(UNKIND)), schema)
    assert refused < 150


@pytest.mark.parametrize("name", AS_WRITTEN)
def test_the_shortest_answer_is_said_when_just_that_many_words_are_left(name):
    grammar = json_schema(STARTER, AS_WRITTEN[name])
    said = tokens(grammar, grammar.least, random.Random(0))
    assert len(said) <= grammar.least
    with pytest.raises(TooShort) as error:
        grammar.begin(grammar.least - 1)
    assert str(grammar.least) in str(error.value) and str(grammar.least - 1) in str(error.value)


def fewest(text):
    """How few words write a text: by the plainest table."""
    words = {word for word in spelled(STARTER) if word}
    text = text.encode().decode("latin-1")
    best = [0] + [10**9] * len(text)
    for end in range(1, len(text) + 1):
        for start in range(end):
            if text[start:end] in words:
                best[end] = min(best[end], best[start] + 1)
    return best[-1]


@pytest.mark.parametrize(
    ("schema", "texts"),
    [
        ({"enum": ["hello there", "北京", "zqx"]}, ['"hello there"', '"北京"', '"zqx"']),
        ({"type": "boolean"}, ["true", "false"]),
        ({"const": {"a": [1, None]}}, ['{"a": [1, null]}']),
        ({"type": "object", "properties": {}, "additionalProperties": False}, ["{}"]),
        (WEATHER, ['{"city":"","days":1}']),
        (TREE, ['{"v":0,"kids":[]}']),
        ({"type": "array", "items": {"type": "null"}, "minItems": 3}, ["[null,null,null]"]),
    ],
)
def test_least_is_what_the_shortest_text_needs(schema, texts):
    assert json_schema(STARTER, schema).least == min(map(fewest, texts))


def test_only_words_of_a_shortest_ending_are_allowed_when_no_more_are_left():
    grammar = json_schema(STARTER, {"enum": ["no", "not at all, whatever anybody says"]})
    constraint = grammar.begin(grammar.least)
    said = ""
    while not constraint.finished:
        for word in allowed(constraint):
            assert '"no"'.startswith(said + spelled(STARTER)[word])
        constraint.accept(word)
        said += spelled(STARTER)[word]
    roomy = grammar.begin(40)
    for sign in '"no':
        roomy.accept(STARTER.encode(sign)[0])
    assert {spelled(STARTER)[word] for word in allowed(roomy)} >= {"t", '"'}


def test_the_end_is_allowed_where_the_answer_is_whole_and_nowhere_else():
    constraint = json_schema(STARTER, {"type": "integer"}).begin(9)
    assert STARTER.eos_id not in allowed(constraint)
    constraint.accept(STARTER.encode("7")[0])
    assert STARTER.eos_id in allowed(constraint) and not constraint.finished
    whole = json_schema(STARTER, {"type": "boolean"}).begin(9)
    for word in STARTER.encode("true"):
        assert not whole.finished
        whole.accept(word)
    assert whole.finished


def test_an_answer_that_could_go_on_is_finished_with_its_last_word():
    constraint = json_schema(STARTER, {"type": "integer"}).begin(1)
    constraint.accept(STARTER.encode("7")[0])
    assert constraint.finished


def test_a_word_that_may_not_follow_is_refused():
    with pytest.raises(ValueError, match="may not follow"):
        json_object(STARTER).begin(9).accept(STARTER.encode("x")[0])


def says(grammar, text):
    """Whether a grammar can say a text, a byte at a time."""
    numbers = {word: number for number, word in reversed(list(enumerate(spelled(STARTER))))}
    constraint = grammar.begin(4000)
    for symbol in text.encode().decode("latin-1"):
        if numbers[symbol] not in allowed(constraint):
            return False
        constraint.accept(numbers[symbol])
    return constraint.finished or STARTER.eos_id in allowed(constraint)


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ('"a b"', True), ('"\\n\\t\\"\\\\"', True), ('"北京 😀"', True), ('"\x7f"', False), ('"\n"', False),
        ('"\t"', False), ('"\x00"', False), ('"\\u0000"', False), ('"\\ud800"', False), ('"\\x41"', False),
        ("'a'", False),
        ('"a', False), ("01", False), ("1.", False), (".5", False), ("+1", False), ("-", False),
        ("1e", False), ("-0.5e-10", True), ("NaN", False), ("Infinity", False), ("[1,]", False),
        ("[,1]", False),
        ("[1 ,2]", False), ("[1, 2]", True), ("[1,  2]", False), ('{"a":1,}', False),
        ('{"a" :1}', False),
        ("{\n  \"a\": [\n    1\n  ]\n}", True), ("{a:1}", False), ("true", True), ("True", False),
        (" 1", False), ("1 ", False), ("[\n\n]", True), ("[\n\n\n]", False), ("/*c*/1", False),
    ],
)  # fmt: skip
def test_the_grammar_of_any_value_says_json_and_nothing_else(text, valid):
    assert says(json_schema(STARTER, True), text) == valid
    if valid:
        json.loads(text)


@pytest.mark.parametrize(
    "bounds", [{}, {"maxLength": 8}, {"minLength": 2}, {"pattern": "x"}, {"maxLength": 0}]
)
def test_no_control_sign_and_no_half_of_a_character_is_ever_said(bounds):
    grammar = json_schema(STARTER, {"type": "string", **bounds})
    for symbol in [*map(chr, range(0x20)), "\x7f"]:
        assert not says(grammar, f'"x{symbol}x"')
    for seed in range(40):
        said = tokens(grammar, grammar.least + 12, random.Random(seed), likes="\xe4\xf0\xe5\x80")
        raw = "".join(spelled(STARTER)[word] for word in said).encode("latin-1")
        assert isinstance(json.loads(raw.decode("utf-8", errors="strict")), str)


def test_white_space_never_fills_a_budget():
    grammar = json_schema(STARTER, {"type": "array", "items": {"enum": [1]}, "maxItems": 2})
    longest = max(len(answer(grammar, 500, random.Random(seed), likes=" \n")) for seed in range(60))
    assert longest <= len("[1,1]") + 3 * (1 + 16)


def test_brackets_nest_no_deeper_than_readers_read():
    bracket, constraint = STARTER.encode("[")[0], json_schema(STARTER, True).begin(3000)
    depth = 0
    while bracket in allowed(constraint):
        constraint.accept(bracket)
        depth += 1
    assert 150 < depth < 500
    json.loads("[" * depth + "]" * depth)
    while not constraint.finished:
        constraint.accept(min(allowed(constraint), key=lambda word: spelled(STARTER)[word] != "]"))


def test_numbers_keep_their_value_in_every_reader():
    grammar = json_schema(STARTER, {"type": "array", "items": {"type": "number"}, "minItems": 5})
    for seed in range(30):
        for number in json.loads(answer(grammar, 200, random.Random(seed), likes="0123456789.eE-")):
            assert abs(number) < 1e120 and number == float(number)


READERS = {
    "date": date.fromisoformat,
    "time": lambda text: time.fromisoformat(text.replace("Z", "+00:00")),
    "date-time": lambda text: datetime.fromisoformat(text.replace("Z", "+00:00")),
    "duration": lambda text: re.fullmatch(r"P(?!$)(\d+W|(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+S)?)?)", text)[0],
    "hostname": lambda text: [
        int(len(part) < 64 and part[0] != "-" != part[-1]) or 1 / 0 for part in text.split(".")
    ],
    "uri": lambda text: urlsplit(text).hostname.encode("idna"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_are_read_by_those_who_know_them(name):
    schema = {"type": "string", "format": name}
    grammar = json_schema(STARTER, schema)
    for seed in range(60):
        text = answer(grammar, grammar.least + seed, random.Random(seed))
        check(text, schema)
        READERS.get(name, str)(json.loads(text))


@pytest.mark.parametrize("indent", [None, 1, 2, 4])
def test_what_python_writes_can_be_said(indent):
    value = {"city": '北京\n"x"', "days": 3, "unit": "c"}
    assert says(json_schema(STARTER, WEATHER), json.dumps(value, ensure_ascii=False, indent=indent))
    compact = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert says(json_schema(STARTER, WEATHER), compact)


def test_words_of_an_unused_number_and_of_no_text_are_never_allowed():
    tokenizer = with_marks("<tool_call>")
    words = vocabulary_of(tokenizer)
    constraint = json_schema(tokenizer, {"type": "string"}).begin(20)
    constraint.accept(tokenizer.encode('"')[0])
    found = allowed(constraint, tokenizer)
    assert words.special["<tool_call>"] not in found and tokenizer.token_id("<|im_start|>") not in found
    assert not [word for word in found if not words.symbols[word]]


def test_a_grammar_is_made_once():
    assert json_schema(STARTER, WEATHER) is json_schema(STARTER, json.loads(json.dumps(WEATHER)))
