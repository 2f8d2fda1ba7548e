"""Calls held to the model's form: read back by our own readers, whole in time, valid by the tool's schema."""

from __future__ import annotations

import json
import random

import jsonschema
import pytest

pytest.importorskip("llguidance")

from danlu.base.errors import UserError
from danlu.generate.grammar import json_schema, tool_calls
from danlu.tools import parse
from generate.adversary import STARTER, UNKIND, allowed, answer, spelled, with_marks

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
        "unit": {"enum": ["c", "f"]},
        "rain": {"type": ["boolean", "null"]},
        "code": {"type": "string", "pattern": "^[a-z]{2}$"},
        "at": {"type": "array", "items": {"type": "number"}},
    },
    "required": ["city", "rain"],
}
FUNCTIONS = {"get_weather": WEATHER, "get_time": None}


DENYING = {"properties": {"x": {"not": {}}}}


def tools(strict=False):
    return [
        {
            "type": "function",
            "function": {"name": name, "strict": strict} | ({"parameters": schema} if schema else {}),
        }
        for name, schema in FUNCTIONS.items()
    ]


FORMS = [
    "hermes", "llama3_json", "mistral", "pythonic", "qwen3_coder", "glm45", "deepseek_v3", "internlm",
    "phi4_mini_json",
]  # fmt: skip
MARKS = (
    "<think>", "</think>", "<tool_call>", "</tool_call>", "[TOOL_CALLS]", "<arg_key>", "</arg_key>",
    "<arg_value>", "</arg_value>", "<｜tool▁calls▁begin｜>", "<|action_start|>", "<|plugin|>",
    "<|action_end|>",
)  # fmt: skip
MARKED = with_marks(*MARKS)


def read(text, form, thinking=""):
    return parse.parse(
        text, form, "qwen3" if thinking else None, thinking=thinking == "opened", tools=tools()
    )


def check(message):
    assert message.calls and not (message.content or "").strip()
    for call in message.calls:
        jsonschema.validate(
            json.loads(call.arguments), FUNCTIONS[call.name] or {"type": "object", "maxProperties": 0}
        )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tokenizer", [STARTER, MARKED], ids=["marks as text", "marks as words"])
def test_required_and_named_calls_are_read_back_and_valid(form, tokenizer):
    for seed, (choice, thinking) in enumerate(
        (choice, thinking) for choice in ("required", "get_weather") for thinking in ("", "may", "opened")
    ):
        grammar = tool_calls(tokenizer, form, tools(), choice, thinking=thinking)
        for more in (0, 1, 4, 40):
            draw = random.Random(seed * 100 + more)
            message = read(
                answer(grammar, grammar.least + more, draw, draw.choice(UNKIND), tokenizer), form, thinking
            )
            check(message)
            assert choice == "required" or {call.name for call in message.calls} == {choice}


@pytest.mark.parametrize("form", [form for form in FORMS if form != "internlm"])
def test_parallel_calls_may_be_several_and_otherwise_are_one(form):
    counts = {}
    for parallel in (True, False):
        grammar = tool_calls(
            STARTER, form, tools(), {"type": "function", "function": {"name": "get_time"}}, parallel=parallel
        )
        room = 4 * grammar.least
        counts[parallel] = {
            len(read(answer(grammar, room, random.Random(seed)), form).calls) for seed in range(25)
        }
    assert counts[False] == {1} and max(counts[True]) > 1


def test_calls_are_written_as_the_template_writes_them():
    from danlu.tokenizer.spans import render

    said = {"city": "北京", "rain": None}
    call = {"type": "function", "function": {"name": "get_weather", "arguments": said}}
    text = render(
        STARTER,
        [{"role": "user", "content": "?"}, {"role": "assistant", "content": "", "tool_calls": [call]}],
    )
    text = text.split("assistant\n")[-1].removesuffix("<|im_end|>\n")
    constraint = tool_calls(STARTER, "hermes", tools(), "required").begin(500)
    for word in STARTER.encode(text):
        assert word in allowed(constraint)
        constraint.accept(word)


def test_a_mark_that_is_a_word_is_said_as_that_word_alone():
    grammar = tool_calls(MARKED, "hermes", tools(), "required")
    assert allowed(grammar.begin(200), MARKED) == [MARKED.token_id("<tool_call>")]


@pytest.mark.parametrize("tokenizer", [STARTER, MARKED], ids=["marks as text", "marks as words"])
def test_free_text_is_free_until_a_strict_call_begins(tokenizer):
    grammar = tool_calls(tokenizer, "hermes", tools(strict=True), "auto")
    assert grammar.least == 0
    constraint = grammar.begin(100)
    for word in tokenizer.encode("Let me see {[<"):
        assert word in allowed(constraint, tokenizer) and tokenizer.eos_id in allowed(constraint, tokenizer)
        constraint.accept(word)
    opening = tokenizer.token_id("<tool_call>")
    for word in [opening] if opening else tokenizer.encode("tool_call>"):
        assert word in allowed(constraint, tokenizer)
        constraint.accept(word)
    assert {spelled(tokenizer)[word][0] for word in allowed(constraint, tokenizer)} == {"\n"}
    while not constraint.finished:
        word = random.Random(0).choice(allowed(constraint, tokenizer))
        if word in (tokenizer.eos_id, tokenizer.pad_id):
            break
        constraint.accept(word)


def test_free_text_that_runs_out_of_words_is_not_finished():
    constraint = tool_calls(STARTER, "hermes", tools(strict=True), "auto").begin(1)
    constraint.accept(STARTER.encode("a")[0])
    assert not constraint.finished


def test_a_call_does_not_begin_in_free_text_when_it_would_not_end():
    constraint = tool_calls(MARKED, "hermes", tools(strict=True), "auto").begin(5)
    assert MARKED.token_id("<tool_call>") not in allowed(constraint, MARKED)
    assert len(allowed(constraint, MARKED)) > 1000


def test_nothing_is_held_to_a_grammar_without_need():
    assert tool_calls(STARTER, "hermes", tools(), "auto") is None
    assert tool_calls(STARTER, "hermes", tools(strict=True), "none") is None
    assert tool_calls(STARTER, None, [], "none") is None


def test_thoughts_end_in_time_and_json_follows():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    for tokenizer in (STARTER, MARKED):
        for thinking in ("may", "opened"):
            grammar = json_schema(tokenizer, schema, thinking=thinking)
            for seed in range(20):
                text = answer(grammar, grammar.least + seed, random.Random(seed), tokenizer=tokenizer)
                message = parse.parse(text, None, "qwen3", thinking=thinking == "opened")
                jsonschema.validate(json.loads(message.content or ""), schema)


@pytest.mark.parametrize(
    ("form", "choice", "given", "said"),
    [
        (None, "required", tools(), "no known form"),
        ("klingon", "required", tools(), "klingon"),
        ("hermes", "get_wether", tools(), "get_weather"),
        ("hermes", "required", [], "without tools"),
        ("hermes", {"type": "function"}, tools(), "not understood"),
        ("hermes", "required", [{"type": "function", "function": {}}], "no function with a name"),
        ("pythonic", "required", [{"function": {"name": "not-python"}}], "no Python name"),
        ("qwen3_coder", "required", [{"function": {"name": "a b"}}], "cannot be called"),
        ("hermes", "required", [{"function": {"name": "f", "parameters": {"type": "array"}}}], "satisfies"),
        ("hermes", "f", [{"function": {"name": "f", "parameters": DENYING}}], "'f'/properties/x"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_refused_and_says_why(form, choice, given, said):
    with pytest.raises(UserError) as error:
        tool_calls(STARTER, form, given, choice)
    assert said in str(error.value)
