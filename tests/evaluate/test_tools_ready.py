"""The cases that come with us: enough, bilingual, distinct, held out, and right by their own measure."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from click.testing import CliRunner

from danlu.eval import command
from danlu.evaluate.tools import boxes, ready
from danlu.evaluate.tools.cases import Case, Expected
from danlu.starter.split import is_heldout
from danlu.starter.tools import CLOSED, KINDS
from danlu.starter.tools_values import DAYS
from evaluate.scripted import Body, Scripted, calls, says, since

CASES = ready.all_cases()
CLASSIC = [case for case in CASES if case.kind == "classic"]
STARTER = [case for case in CASES if case.kind != "classic"]


def evaluated(*words: str, code: int = 0) -> dict:
    """What the command reports as JSON."""
    done = CliRunner().invoke(command, ["tools", *words, "--json"], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def values(told: dict) -> dict:
    return {name: share["value"] for name, share in told["metrics"]["all"].items()}


def test_there_are_two_hundred_and_more_half_of_them_chinese_and_none_twice():
    assert len(CASES) >= 200 and CASES == ready.all_cases()
    assert len({case.id for case in CASES}) == len(CASES)
    assert len({tuple(question.user for question in case.questions) for case in CASES}) == len(CASES)
    assert Counter(case.lang for case in CASES) == {"zh": len(CASES) / 2, "en": len(CASES) / 2}
    assert {case.kind for case in STARTER} == set(KINDS)


def test_every_value_of_a_starter_case_is_held_out_but_days_and_tongues():
    given = [
        value
        for case in STARTER
        for question in case.questions
        for call in (*question.wanted, *question.may)
        for key, value in call.arguments.items()
        if key not in CLOSED and value not in (*DAYS["en"], *DAYS["zh"])
    ]
    assert len(given) > 200 and all(is_heldout(value) for value in given)


def test_the_classic_six_are_five_to_call_and_one_to_chat():
    assert [len(case.questions) for case in CLASSIC] == [1] * 6
    tools = [[call.name for call in case.questions[0].wanted] for case in CLASSIC]
    assert tools == [["get_weather"], ["calculate"], ["get_time"], ["search"], [], ["get_weather"]]
    box = boxes.Box(CLASSIC[0], boxes.toolboxes())
    assert sorted(box.by_name) == ["calculate", "get_time", "get_weather", "search"]


def made(call: Expected) -> tuple[str, dict]:
    """A call that is just what is wanted."""

    def one(value):
        if isinstance(value, dict):
            return value["any"][0] if "any" in value else value["has"]
        return value

    return call.name, {key: one(value) for key, value in call.needed.items()}


def oracle(body: Body) -> Body:
    """Say what a case wants, first what it allows."""
    said = [each["content"] for each in body["messages"] if each["role"] == "user"]
    case = BY_WORDS[tuple(said), tuple(tool["function"]["name"] for tool in body.get("tools", ()))]
    question = case.questions[len(said) - 1]
    rounds = [*[[call] for call in question.may], *question.calls]
    if since(body) < len(rounds):
        return calls(*map(made, rounds[since(body)]))
    return says(" ; ".join(text if isinstance(text, str) else text[0] for text in question.answer) or "Well.")


BY_WORDS = {
    (
        tuple(question.user for question in case.questions[: number + 1]),
        tuple(boxes.Box(case, boxes.toolboxes()).by_name),
    ): case
    for case in CASES
    for number in range(len(case.questions))
}


def test_an_oracle_that_says_what_each_case_wants_is_right_in_everything():
    with Scripted(oracle) as server:
        told = evaluated("--endpoint", server.url, "--min", ",".join(f"{name}=1" for name in ALL))
    assert values(told) == dict.fromkeys(ALL, 1.0)
    assert told["complete"] and told["turns"]["all"]["cases"] == len(CASES)
    shares = told["metrics"]["kind"]["classic"]
    assert {name: (share["part"], share["of"]) for name, share in shares.items()} == {
        "detection": (5, 5),
        "selection": (5, 5),
        "json": (5, 5),
        "arguments": (5, 5),
        "no_call": (1, 1),
        "multi_call": (0, 0),
        "values": (4, 4),
        "recovery": (0, 0),
        "answer": (3, 3),
        "whole": (6, 6),
    }
    errors = told["metrics"]["kind"]["a tool's error"]
    assert errors["recovery"]["of"] == errors["whole"]["of"]


ALL = ("detection selection json arguments no_call multi_call values recovery answer whole").split()


def test_a_model_that_never_calls_has_no_detection_and_every_no_call():
    with Scripted(lambda body: says("I cannot say.")) as server:
        told = evaluated("--endpoint", server.url, "--min", "no_call=1")
    found = values(told)
    assert found["detection"] == found["values"] == found["multi_call"] == found["answer"] == 0
    assert found["no_call"] == 1
    assert found["selection"] is found["json"] is found["arguments"] is found["recovery"] is None


def test_a_model_that_always_calls_has_no_no_call():
    def search(body: Body) -> Body:
        if since(body) or "tools" not in body:
            return says("Well.")
        return calls((body["tools"][0]["function"]["name"], {}))

    with Scripted(search) as server:
        found = values(evaluated("--endpoint", server.url))
    assert found["detection"] == found["json"] == 1 and found["no_call"] == 0


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_one_language_alone(lang):
    with Scripted(lambda body: says("No.")) as server:
        told = evaluated("--endpoint", server.url, "--lang", lang)
    assert set(told["metrics"]["lang"]) == {lang} and told["settings"]["cases"] == len(CASES) / 2


def test_a_limit_takes_cases_evenly_from_all_kinds():
    with Scripted(lambda body: says("No.")) as server:
        told = evaluated("--endpoint", server.url, "--limit", "40")
    assert told["settings"]["cases"] == 40 and set(told["metrics"]["kind"]) >= set(KINDS)


def test_from_a_dialogue_come_questions_calls_and_what_answers_hold():
    (mended,) = [case for case in STARTER if any(question.may for question in case.questions)][:1]
    (question,) = mended.questions
    wrong, right = question.may[0].arguments, question.wanted[0].arguments
    assert wrong != right and wrong["date"].replace(".", "-").replace("/", "-") == right["date"]
    asks = [case for case in STARTER if case.kind == "a missing argument"]
    assert all(not case.questions[0].calls and case.questions[1].calls for case in asks)
    assert isinstance(mended, Case)
