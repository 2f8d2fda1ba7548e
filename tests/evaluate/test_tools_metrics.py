"""Every metric, worked out by hand for what a scripted model says to seven small cases."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.eval import command
from danlu.evaluate.tools.cases import Expected, Question
from danlu.evaluate.tools.judge import assigned, equals, holds, judge, matched
from danlu.evaluate.tools.metrics import Share
from danlu.evaluate.tools.talk import Exchange, Made
from evaluate.scripted import Body, Reply, Scripted, asked, calls, says, since

WEATHER = {"name": "get_weather", "arguments": {"city": "Paris"}}
ROWS = [
    {
        "id": "right",
        "lang": "en",
        "kind": "a",
        "questions": [{"user": "1", "calls": [[WEATHER]], "answer": ["Paris"]}],
    },
    {"id": "no json", "lang": "en", "kind": "a", "questions": [{"user": "2", "calls": [[WEATHER]]}]},
    {"id": "nothing given", "lang": "zh", "kind": "a", "questions": [{"user": "3", "calls": [[WEATHER]]}]},
    {
        "id": "wrong tool",
        "lang": "zh",
        "kind": "a",
        "questions": [{"user": "4", "calls": [[WEATHER]], "answer": ["Paris"]}],
    },
    {
        "id": "two and one more",
        "lang": "zh",
        "kind": "b",
        "questions": [
            {
                "user": "5",
                "calls": [[WEATHER, {"name": "calculate", "arguments": {"expression": "6 * 7"}}]],
                "answer": ["42"],
            }
        ],
    },
    {
        "id": "fails once",
        "lang": "en",
        "kind": "b",
        "failing": {"get_weather": ["service down"]},
        "questions": [{"user": "6", "calls": [[WEATHER]], "may": [WEATHER], "answer": ["Paris"]}],
    },
    {"id": "chat", "lang": "en", "kind": "c", "questions": [{"user": "7"}, {"user": "8"}]},
]
PARIS = ("get_weather", {"city": "Paris"})
SCRIPT = {
    "1": [calls(PARIS), says("Cloudy in Paris.")],
    "2": [calls(("get_weather", '{"city": "Pa')), says("It failed.")],
    "3": [calls(("get_weather", {})), says("Which city?")],
    "4": [calls(("search", {"query": "Paris"})), says("No idea.")],
    "5": [
        calls(("calculate", {"expression": "6 * 7"}), PARIS, ("get_time", {})),
        says("42, and cloudy."),
    ],
    "6": [calls(PARIS), calls(PARIS), says("Cloudy in Paris.")],
    "7": [says("Hello!")],
    "8": [calls(("get_time", {})), says("Late.")],
}


def script(body: Body) -> Reply:
    return SCRIPT[asked(body)][since(body)]


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "cases.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def run(*words: str):
    return CliRunner().invoke(command, ["tools", *words], catch_exceptions=False)


def shares(told: dict) -> dict[str, tuple[int, int]]:
    return {name: (share["part"], share["of"]) for name, share in told.items()}


def test_every_metric_is_what_a_hand_works_out(file, tmp_path):
    out = tmp_path / "report.json"
    with Scripted(script) as server:
        done = run("--endpoint", server.url, "--cases", str(file), "--out", str(out), "--lang", "en")
        assert done.exit_code == 0, done.output
        done = run("--endpoint", server.url, "--cases", str(file), "--out", str(out))
        assert done.exit_code == 0, done.output
    told = json.loads(out.read_text())
    assert shares(told["metrics"]["all"]) == {
        "detection": (6, 6),
        "selection": (4, 6),  # 4 calls another tool, 5 one that nobody asked for
        "json": (5, 6),  # 2
        "arguments": (4, 6),  # 2 has none, 3 lacks the city
        "no_call": (1, 2),  # 8 calls
        "multi_call": (0, 1),  # 5 calls one too many
        "values": (4, 7),  # 1, both of 5, 6
        "recovery": (1, 3),  # 2, 3 and 6 met an error; only 6 came good
        "answer": (3, 4),  # 4 tells nothing
        "whole": (2, 7),  # 1 and 6
    }
    assert shares(told["metrics"]["lang"]["zh"])["detection"] == (3, 3)
    assert shares(told["metrics"]["kind"]["c"])["detection"] == (0, 0)
    assert told["metrics"]["kind"]["c"]["detection"]["value"] is None
    # 2 each of 1, 2, 3, 4, 5, then 3 of 6 and 1 + 2 of 7 and 8; at least 2 of each that calls, 1 of 7 and 8
    assert told["turns"]["all"] == {"spoken": 16 / 7, "needed": 14 / 7, "cases": 7}
    assert told["turns"]["lang"]["zh"] == {"spoken": 2.0, "needed": 2.0, "cases": 3}


def test_the_report_has_every_message_and_call(file, tmp_path):
    out = tmp_path / "report.json"
    with Scripted(script) as server:
        run("--endpoint", server.url, "--cases", str(file), "--out", str(out))
    told = json.loads(out.read_text())
    assert (
        told["format"] == 1
        and told["complete"]
        and [case["id"] for case in told["cases"]] == [r["id"] for r in ROWS]
    )
    case = told["cases"][5]
    assert [message["role"] for message in case["messages"]] == [
        "user",
        *["assistant", "tool"] * 2,
        "assistant",
    ]
    (question,) = case["questions"]
    assert question["wanted"] == ROWS[5]["questions"][0] and question["answer"] == "Cloudy in Paris."
    assert question["calls"][0]["result"] == '{"error": "service down"}'
    verdict = question["verdict"]
    assert case["well"] and verdict["well"] and verdict["failed"] and verdict["turns"] == 3


def test_a_call_that_cannot_be_read_is_a_call_without_json(tmp_path):
    question = Question(user="?", calls=[[Expected(name="f")]])
    verdict = judge(question, Exchange(answer="<tool_call>\n{name", turns=1, unreadable=True), {})
    assert verdict.called and not verdict.valid and not verdict.complete and not verdict.selected
    chat = judge(Question(user="?"), Exchange(unreadable=True, turns=1), {})
    assert chat.called and not chat.well


def exchange(*made: tuple[str, dict, int]) -> Exchange:
    return Exchange([Made(name, json.dumps(given), "{}", number) for name, given, number in made], "", 2)


def test_calls_are_matched_so_that_most_values_are_right():
    wanted = [Expected(name="f", arguments={"x": 1, "y": 1}), Expected(name="f", arguments={"x": 1, "y": 2})]
    made = exchange(("f", {"x": 1, "y": 2}, 0), ("f", {"x": 1, "y": 3}, 0), ("g", {"x": 1, "y": 1}, 0)).calls
    assert matched(wanted, made) == [1, 0]
    assert matched(wanted, []) == [None, None]
    many = [Made("f", json.dumps({"x": number}), "{}", 0) for number in range(40)]
    wanted = [Expected(name="f", arguments={"x": number}) for number in (39, 7, 21, 8)]
    assert matched(wanted, many) == [39, 7, 21, 8]
    twenty = [Expected(name="f", arguments={"x": number}) for number in range(20)]
    assert matched(twenty, [*reversed(many[:20])]) == [*range(19, -1, -1)]
    alike = [Made("f", "{}", "{}", number) for number in range(3)]
    assert matched(wanted[:2], alike) == [0, 1]


TABLES = st.integers(1, 4).flatmap(
    lambda rows: st.integers(rows, 6).flatmap(
        lambda columns: st.lists(
            st.lists(st.integers(0, 9), min_size=columns, max_size=columns), min_size=rows, max_size=rows
        )
    )
)


@settings(max_examples=200, deadline=None)
@given(TABLES)
def test_no_other_assignment_is_worth_more(worth):
    def total(columns):
        return sum(row[column] for row, column in zip(worth, columns))

    found = assigned(worth)
    assert len({*found}) == len(worth)
    assert total(found) == max(map(total, itertools.permutations(range(len(worth[0])), len(worth))))


@pytest.mark.parametrize(
    ("made", "exact"),
    [
        ([("f", {}, 0), ("g", {}, 0), ("h", {}, 1)], True),
        ([("g", {}, 0), ("f", {}, 1), ("h", {}, 2)], True),
        ([("f", {}, 0), ("h", {}, 1), ("g", {}, 1)], False),
        ([("f", {}, 0), ("g", {}, 0), ("h", {}, 0)], False),
        ([("f", {}, 0), ("g", {}, 0)], False),
        ([("f", {}, 0), ("g", {}, 0), ("h", {}, 1), ("h", {}, 2)], False),
        ([("f", {"x": 1}, 0), ("g", {}, 0), ("h", {}, 1)], False),
        ([("may", {}, 0), ("f", {}, 0), ("g", {}, 0), ("h", {}, 1)], True),
    ],
)
def test_calls_of_a_round_come_in_any_order_and_those_of_the_next_after_them(made, exact):
    question = Question(
        user="?",
        calls=[[Expected(name="f"), Expected(name="g")], [Expected(name="h")]],
        may=[Expected(name="may")],
    )
    assert judge(question, exchange(*made), {}).exact == exact


@pytest.mark.parametrize(
    ("wanted", "found", "right"),
    [
        ("北京", "北京", True),
        ("北京", "北京市", False),
        ({"any": ["北京", "北京市"]}, "北京市", True),
        ({"has": "wall"}, "the Great Wall", True),
        ({"has": "wall"}, "wallpaper", False),
        (1, 1.0, True),
        (1, True, False),
        (1, "1", False),
        ({"a": [1]}, {"a": [1]}, True),
        ({"any": 1, "b": 2}, {"any": 1, "b": 2}, True),
    ],
)
def test_a_value_is_right_if_it_equals(wanted, found, right):
    assert equals(wanted, found) == right


def test_an_optional_argument_may_be_left_out_and_counts_for_nothing():
    question = Question(user="?", calls=[[Expected(name="f", arguments={"u": {"optional": ["c", "f"]}})]])
    for said, right in (({}, True), ({"u": "c"}, True), ({"u": "k"}, False), ({"v": 1}, False)):
        verdict = judge(question, exchange(("f", said, 0)), {})
        assert (verdict.right, verdict.values) == (right, 0)


@pytest.mark.parametrize(
    ("text", "part", "held"),
    [
        ("It is 350,000 m.", "350000 m", True),
        ("in 2031", "31", False),
        ("3.5", "5", False),
        ("3.5", "3", False),
        ("It is 3.", "3", True),
        ("有雪，最高8度", "8", True),
        ("ＡＢＣ１２", "abc12", True),
        ("Parisian", "Paris", False),
        ("巴黎天气", "巴黎", True),
        ("a\n b", "a b", True),
        ("-3.5", "-3.5", True),
        ("It is -3.", "3", False),
        ("最低-3度", "3", False),
        ("最低−3度", "-3", True),
        ("8-25度", "25", True),
        ("8°-25°", "25", True),
    ],
)
def test_an_answer_holds_words_and_numbers_of_their_own(text, part, held):
    assert holds(text, part) == held


def test_nothing_of_nothing_is_none():
    assert Share(0, 0).value is None and Share(0, 3).value == 0


@pytest.mark.parametrize(
    ("least", "code", "says"),
    [
        ("detection=1,json=0.8", 0, ""),
        ("detection=1,json=0.9", 1, "json is 0.8333 (5 of 6), not 0.9"),
        ("values=0.9,whole=0.9", 1, "values is 0.5714 (4 of 7), not 0.9"),
    ],
)
def test_a_share_below_what_is_demanded_is_exit_code_1(file, least, code, says):
    with Scripted(script) as server:
        done = run("--endpoint", server.url, "--cases", str(file), "--min", least)
    assert done.exit_code == code and says in done.stderr


def test_what_is_none_is_below_every_demand(file):
    with Scripted(lambda body: says("no")) as server:
        done = run("--endpoint", server.url, "--cases", str(file), "--min", "selection=0")
    assert done.exit_code == 1 and "selection is none (0 of 0)" in done.stderr


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_table_has_every_metric_with_its_counts(file, lang):
    with Scripted(script) as server:
        done = run("--endpoint", server.url, "--cases", str(file), "--lang", lang)
    assert done.exit_code == 0
    for name in ("detection", "no_call", "whole"):
        assert name in done.stdout
    assert {"en": "3/3", "zh": "2/3"}[lang] in done.stdout
    assert {"en": "argument values", "zh": "参数值正确"}[lang] in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 110
