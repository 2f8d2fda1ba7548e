"""Tool dialogues are true, of every kind, and held out value by value, from parts training shows often."""

from __future__ import annotations

import copy
import json
import operator
import random
import re
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.data.records import Dialogue, recognise
from danlu.starter import tools
from danlu.starter.tools import calls, dialogues, holds
from danlu.starter.tools_catalogue import PARAMETERS, run, schema
from danlu.starter.tools_values import TOWNS, phrases
from danlu.tokenizer.chat import encode_chats
from danlu.tokenizer.tokenizer import Tokenizer

TRAINING, HELDOUT = 30_000, 1_000
OFTEN = 20  # times that training must show a sign or token which a held-out value is made of
CHINESE = re.compile(r"[\u4e00-\u9fff]")
SIGNS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
WORDS = {
    "plus": "+",
    "minus": "-",
    "times": "*",
    "divided by": "/",
    "加": "+",
    "减": "-",
    "乘以": "*",
    "除以": "/",
}


@pytest.fixture(scope="module")
def training() -> list[dict]:
    return list(dialogues(random.Random(1), False, TRAINING))


@pytest.fixture(scope="module")
def heldout() -> list[dict]:
    return list(dialogues(random.Random(2), True, HELDOUT))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load("starter")


def asked(row: dict) -> list[str]:
    return [message["content"] for message in row["messages"] if message["role"] == "user"]


def made(rows: list[dict]) -> Iterator[dict]:
    for row in rows:
        yield from calls(row["messages"])


def values(rows: list[dict]) -> Iterator[str]:
    for call in made(rows):
        yield from call["arguments"].values()


def kind(row: dict) -> str:
    """What a dialogue is, told from its messages alone."""
    turns = [message for message in row["messages"] if message["role"] == "assistant"]
    counts = [len(turn.get("tool_calls", ())) for turn in turns]
    if any('{"error"' in message["content"] for message in row["messages"] if message["role"] == "tool"):
        return "a tool's error"
    if not any(counts):
        refused = turns[0]["content"] in ("I am sorry, I have no tool for that.", "抱歉，我没有合适的工具。")
        return "no tool fits" if refused else "no call needed"
    if len(asked(row)) == 2:
        return "a missing argument"
    if sum(map(bool, counts)) == 2:
        return "calls in sequence"
    return "one call" if counts[0] == 1 else "calls in parallel"


def test_the_same_dice_give_the_same_dialogues():
    one, other = (list(dialogues(random.Random(7), False, 200)) for _ in range(2))
    assert one == other != list(dialogues(random.Random(8), False, 200))


def test_every_dialogue_holds(training, heldout):
    assert [row for row in training + heldout if not holds(row)] == []


def test_a_dialogue_with_another_result_answer_or_argument_does_not_hold(heldout):
    tried = 0
    for row in heldout[:300]:
        if not any(True for _ in calls(row["messages"])):
            continue
        results = [number for number, message in enumerate(row["messages"]) if message["role"] == "tool"]
        for number in (*results, -1):
            changed = copy.deepcopy(row)
            changed["messages"][number]["content"] += "0"
            assert not holds(changed)
        changed = copy.deepcopy(row)
        *_, last = calls(changed["messages"])
        last["arguments"][next(iter(last["arguments"]))] += "9"
        assert not holds(changed)
        tried += 1
    assert tried > 200
    unoffered = next(row for row in heldout if kind(row) == "one call")
    assert not holds({**unoffered, "tools": []})


@pytest.mark.parametrize("name", tools.KINDS)
def test_every_kind_is_common_in_both_languages(training, heldout, name):
    for rows in (training, heldout):
        for language in (0, 1):
            half = rows[language::2]
            share = sum(kind(row) == name for row in half) / len(half)
            assert share > 0.03
    assert all(bool(CHINESE.search(asked(row)[0])) for row in training[::2])


def test_every_tool_is_called_often(training):
    counted = Counter(call["name"] for call in made(training))
    assert set(counted) == set(PARAMETERS) and min(counted.values()) > TRAINING / 20


def test_one_to_four_tools_are_offered_in_any_order(training):
    offered = Counter(len(row["tools"]) for row in training)
    assert set(offered) == {1, 2, 3, 4} and min(offered.values()) > TRAINING / 20
    places = Counter(
        [tool["name"] for tool in row["tools"]].index(next(calls(row["messages"]))["name"])
        for row in training
        if kind(row) == "one call" and len(row["tools"]) == 4
    )
    assert set(places) == {0, 1, 2, 3} and max(places.values()) < 1.3 * min(places.values())


def test_what_does_not_fit_is_not_offered_and_what_is_said_first_varies(training):
    first = Counter(row["messages"][0]["role"] for row in training)
    assert 0.2 < first["system"] / TRAINING < 0.4
    for row in training:
        names = [tool["name"] for tool in row["tools"]]
        assert len(set(names)) == len(names)


def test_up_to_three_calls_are_made_in_one_turn(training):
    most = Counter(
        max(len(message.get("tool_calls", ())) for message in row["messages"])
        for row in training
        if kind(row) == "calls in parallel"
    )
    assert set(most) == {2, 3} and min(most.values()) > 300


def test_the_second_call_takes_what_the_first_returned(training):
    for row in training:
        if kind(row) == "calls in sequence":
            _, second = calls(row["messages"])
            result = next(message for message in row["messages"] if message["role"] == "tool")["content"]
            told = [str(value) for value in json.loads(result).values()]
            assert any(value.startswith(each) for each in told for value in second["arguments"].values())


def plain(text: str) -> str:
    """Return what was said with sums and dates as tools take them."""
    for word, sign in WORDS.items():
        text = re.sub(rf"(\d) ?{word} ?(?=\d)", rf"\1 {sign} ", text)
    return re.sub(r"(\d{4})[/.](\d\d)[/.](\d\d)", r"\1-\2-\3", text)


def test_arguments_were_said_before_as_they_are_called(training):
    for row in training:
        said = ""
        for message in row["messages"]:
            for call in message.get("tool_calls", ()):
                for value in call["arguments"].values():
                    made_up = re.fullmatch(r"([\d.]+) ?(\D+)", value)  # a result with its unit
                    parts = made_up.groups() if made_up and value not in said else (value,)
                    assert all(part in said or part in plain(said) for part in parts), (value, said)
            said += message["content"] + "\n"


def test_no_call_of_a_heldout_dialogue_is_made_in_training(training, heldout):
    told = {json.dumps(call) for call in made(training)}
    assert len(told) > 20_000
    assert not told & {json.dumps(call) for call in made(heldout)}


def test_no_user_says_the_same_on_both_sides(training, heldout):
    assert not {text for row in training for text in asked(row)} & {
        text for row in heldout for text in asked(row)
    }


def test_dialogues_of_a_side_differ(training, heldout):
    for rows in (training, heldout):
        assert len({"\n".join(asked(row)) for row in rows}) == len(rows)


def test_heldout_values_are_made_of_signs_and_tokens_that_training_shows_often(training, heldout, tokenizer):
    signs, ids = Counter[str](), Counter[int]()
    for value in values(training):
        signs.update(value)
        ids.update(tokenizer.encode(value))
    new = set(values(heldout))
    assert len(new) > 1000
    assert {sign: signs[sign] for value in new for sign in value if signs[sign] < OFTEN} == {}
    rare = {id for value in new for id in tokenizer.encode(value) if ids[id] < OFTEN}
    assert {tokenizer.decode([id]): ids[id] for id in rare} == {}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_schema_is_at_most_40_tokens(tokenizer, name):
    assert len(tokenizer.encode(json.dumps(schema(name)))) <= 40


def test_dialogues_are_chats_that_fit_and_whose_every_answer_is_learned(heldout, tokenizer):
    read = [recognise(row, "chat") for row in heldout]
    assert {name for name, _ in read} == {"sft messages"}
    chats = [(record.messages, record.tools) for _, record in read if isinstance(record, Dialogue)]
    for (messages, _), chat in zip(chats, encode_chats(tokenizer, chats)):
        assert len(chat.ids) <= 512
        assert len(chat.spans) == sum(message["role"] == "assistant" for message in messages)


@pytest.mark.parametrize(("language", "chinese"), [("zh", True), ("en", False)])
def test_one_language_alone(language, chinese):
    for row in dialogues(random.Random(3), False, 200, [language]):
        assert bool(CHINESE.search(asked(row)[0].split('"')[0])) == chinese


def test_what_a_tokenizer_learns_is_of_the_training_side(heldout):
    told = "\n".join(tools.texts(count=2000))
    assert all(json.dumps(schema(name)) in told for name in PARAMETERS)
    assert not [value for value in set(values(heldout)) if len(value) > 12 and value in told]


numbers = st.integers(0, 9999)


@given(numbers, st.lists(st.tuples(st.sampled_from("+-*/"), st.integers(1, 999)), min_size=1, max_size=4))
def test_the_calculator_reckons_as_python_does(first, others):
    expression = " ".join([str(first), *(f"{sign} {number}" for sign, number in others)])
    exact = eval(re.sub(r"\d+", r"Fraction(\g<0>)", expression), {"Fraction": Fraction})
    assert abs(Fraction(run("calculate", {"expression": expression})["result"]) - exact) <= Fraction(1, 200)


@given(numbers)
def test_units_and_money_follow_their_tables(number):
    def converted(name, key, value, to):
        return run(name, {key: value, "to": to})["result"]

    assert converted("convert_unit", "value", f"{number} km", "m") == f"{1000 * number} m"
    assert converted("convert_unit", "value", f"{number}小时", "分钟") == f"{60 * number}分钟"
    assert converted("convert_unit", "value", f"{number} inches", "mm").split()[0] == f"{number * 25.4:.10g}"
    dollars = converted("convert_currency", "amount", f"{number}人民币", "美元").removesuffix("美元")
    assert abs(float(dollars) - number / 7.2) < 0.0051


@pytest.mark.parametrize(
    ("name", "arguments", "wrong"),
    [
        ("calculate", {"expression": "7 / 0"}, "division by zero"),
        ("convert_unit", {"value": "5 km", "to": "kg"}, "unknown unit"),
        ("convert_unit", {"value": "far", "to": "km"}, "unknown unit"),
        ("convert_currency", {"amount": "5 dollars", "to": "km"}, "unknown currency"),
        ("add_event", {"title": "tea", "date": "2031/04/17"}, "date is YYYY-MM-DD"),
        ("list_events", {"person": "Benador", "date": "soon"}, "date is YYYY-MM-DD"),
        ("translate", {"text": "sour grapes", "to": "Chinese"}, "unknown words"),
    ],
)
def test_a_call_that_cannot_be_answered_says_why(name, arguments, wrong):
    assert run(name, arguments) == {"error": wrong}


def test_some_towns_are_known_and_some_are_not():
    towns = [
        first + middle + last
        for first in TOWNS["zh"][0]
        for middle in TOWNS["zh"][1]
        for last in TOWNS["zh"][2]
    ]
    unknown = sum("error" in run("get_time", {"city": town}) for town in towns)
    assert 0.02 < unknown / len(towns) < 0.12


def test_translating_there_and_back_is_the_same():
    for english, chinese in phrases():
        assert run("translate", {"text": english, "to": "Chinese"}) == {"text": chinese}
        assert run("translate", {"text": chinese, "to": "English"}) == {"text": english}
