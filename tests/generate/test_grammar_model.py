"""Thousands of answers of a model that has learnt nothing: each is whole, parses and satisfies."""

from __future__ import annotations

import json
import random
import time

import jsonschema
import pytest
import yaml

pytest.importorskip("llguidance")

from conftest import ROOT
from danlu.generate.engine import Engine
from danlu.generate.grammar import compiled, json_schema, tool_calls, walk
from danlu.generate.sample import Sampling
from danlu.model.build import build
from danlu.model.config import ModelConfig
from danlu.tools import parse
from generate.adversary import STARTER, allowed
from generate.adversary import tokens as spoken
from generate.models import tiny
from generate.schemas import AS_WRITTEN
from generate.test_grammar_calls import check, tools

WORDS = 64


def untrained():
    keys = yaml.safe_load((ROOT / "configs/model/tiny.yaml").read_text(encoding="utf-8"))
    return build(ModelConfig.model_validate({**keys, "rope_theta": 1e6, "norm_eps": 1e-6}), seed=0).eval()


def satisfies(schema):
    validator = jsonschema.Draft202012Validator(schema)
    return lambda text: validator.validate(json.loads(text))


def requests():
    """What may be asked for in 64 words, with what must hold of the answer."""
    found = [(json_schema(STARTER, schema), satisfies(schema)) for schema in AS_WRITTEN.values()]
    for form in ("hermes", "llama3_json", "pythonic", "qwen3_coder"):
        for choice in ("required", "get_weather"):
            held = lambda text, form=form: check(parse.parse(text, form, tools=tools()))  # noqa: E731
            found.append((tool_calls(STARTER, form, tools(), choice), held))
    return [(grammar, held) for grammar, held in found if grammar.least <= WORDS]


def generate(count):
    """Return the answers with what must hold of them, and the seconds they took."""
    asked = requests()
    assert len(asked) >= 20
    engine = Engine(untrained(), STARTER, slots=32, max_len=128)
    prompt = STARTER.encode("Answer: ")
    texts, ends = [""] * count, [""] * count
    begin = time.perf_counter()
    for index in range(count):
        sampling = Sampling(temperature=0.5 + index % 4 / 2, max_tokens=WORDS, seed=index)
        engine.add(index, prompt, sampling, constraint=asked[index % len(asked)][0].begin(WORDS))
    while engine.busy:
        for event in engine.step():
            texts[event.index] += event.text
            ends[event.index] = event.finish or ""
    return [(text, end, asked[n % len(asked)][1]) for n, (text, end) in enumerate(zip(texts, ends))], (
        time.perf_counter() - begin
    )


@pytest.mark.parametrize("more", [-40, 0, 3, 1000])
@pytest.mark.parametrize("room", ["max_tokens", "context"])
def test_an_answer_of_exactly_the_fewest_words_ends_whole_whatever_else_the_model_knows(more, room):
    names = ("weather", "tree", "tagged", "date", "map", "any object")
    model, prompt = tiny(vocab_size=STARTER.size + more), STARTER.encode("Answer: ")
    for number, name in enumerate(names):
        grammar = json_schema(STARTER, AS_WRITTEN[name])
        context = len(prompt) + (grammar.least if room == "context" else 100)
        engine = Engine(model, STARTER, slots=2, max_len=context)
        most = grammar.least if room == "max_tokens" else None
        sampling = Sampling(temperature=1.0, max_tokens=most, seed=number)
        engine.add(0, prompt, sampling, constraint=grammar.begin(grammar.least))
        events = []
        while engine.busy:
            events += engine.step()
        assert len(events) <= grammar.least and events[-1].finish == "stop"
        satisfies(AS_WRITTEN[name])("".join(event.text for event in events))


def test_what_is_remembered_of_a_long_answer_has_a_bound(monkeypatch):
    monkeypatch.setattr(walk, "MOST_HELD", 20_000)
    schema = {"type": "array", "items": {"type": "string", "maxLength": 400}, "maxItems": 300}
    grammar, draw = json_schema(STARTER, schema), random.Random(0)
    constraint, said = grammar.begin(400), []
    while not constraint.finished:
        words = allowed(constraint)
        said.append(draw.choice(words))
        constraint.accept(said[-1])
        if said[-1] in (STARTER.eos_id, STARTER.pad_id):
            break
        held = [state.outlook.size for state in grammar._walk.states.values() if state.outlook]
        assert sum(held) <= 20_000
    assert len(said) > 100
    satisfies(schema)(STARTER.decode(said))


def test_grammars_that_remember_too_much_together_begin_anew_and_answers_under_way_go_on(monkeypatch):
    grammars = [json_schema(STARTER, {"type": "string", "maxLength": 100 + n}) for n in range(4)]
    for grammar in grammars:
        spoken(grammar, 60, random.Random(1), likes="abc")
    begun = grammars[1].begin(8)
    begun.accept(next(word for word in allowed(begun) if STARTER.decode([word]) == '"'))
    assert all(len(grammar._walk.states) > 100 for grammar in grammars)
    monkeypatch.setattr(compiled, "ALL_KEPT", 100_000)
    grammars[0].begin(60)
    assert all(len(grammar._walk.states) == 1 for grammar in grammars)
    while not begun.finished:
        begun.accept(next(word for word in allowed(begun) if word not in (STARTER.eos_id, STARTER.pad_id)))


def test_two_hundred_answers_of_an_untrained_model():
    for text, end, held in generate(200)[0]:
        held(text)
        assert end == "stop"


@pytest.mark.slow
def test_two_thousand_answers_of_an_untrained_model_in_three_minutes():
    answers, seconds = generate(2000)
    for text, end, held in answers:
        held(text)
        assert end == "stop"
    print(f"2000 answers in {seconds:.0f} s")
    assert seconds < 180
