"""Training has tools by other names, with fewer parameters and at more length; each row is still right."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pytest

from danlu.data.records import Dialogue, recognise
from danlu.starter import tools_variants
from danlu.starter.split import is_heldout
from danlu.starter.tools import CLOSED, calls, dialogues, holds
from danlu.starter.tools_catalogue import PARAMETERS, schema
from danlu.starter.tools_values import DAYS
from danlu.starter.tools_variants import KEYS, NAMES
from danlu.tokenizer.chat import encode_chats
from danlu.tokenizer.tokenizer import Tokenizer

Row = dict[str, Any]
ROWS = 6000


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return list(tools_variants.training(random.Random(1), ROWS, ("zh", "en")))


def takes(tool: Row) -> list[str]:
    return list(tool["parameters"]["properties"])


def is_renamed(row: Row) -> bool:
    return not {tool["name"] for tool in row["tools"]} <= set(PARAMETERS)


def is_new(row: Row) -> bool:
    return any(
        tool["name"] in PARAMETERS and takes(tool) != [*PARAMETERS[tool["name"]]] for tool in row["tools"]
    )


def test_the_same_dice_give_the_same_rows(rows):
    assert rows[:500] == list(tools_variants.training(random.Random(1), 500, ("zh", "en")))


def test_a_call_has_the_name_and_the_parameters_of_a_tool_that_is_offered(rows):
    for row in rows:
        offered = {tool["name"]: tool["parameters"] for tool in row["tools"]}
        assert len(offered) == len(row["tools"])
        for made in calls(row["messages"]):
            parameters = offered[made["name"]]
            assert list(made["arguments"]) in (takes({"parameters": parameters}), [])
            assert set(parameters.get("required", ())) <= set(made["arguments"])


def test_every_sort_of_row_is_common(rows):
    def share(has) -> float:
        return sum(map(has, rows)) / len(rows)

    assert 0.02 < share(is_renamed) < 0.1
    assert 0.01 < share(is_new) < 0.1
    assert share(lambda row: any("description" in tool for tool in row["tools"])) > 0.02
    assert share(lambda row: any("required" in tool["parameters"] for tool in row["tools"])) > 0.05
    assert (
        share(
            lambda row: (
                row["tools"] == [schema(tool["name"]) for tool in row["tools"]]
                if not is_renamed(row)
                else False
            )
        )
        > 0.3
    )


def test_every_other_name_is_offered_and_called(rows):
    offered = Counter(tool["name"] for row in rows for tool in row["tools"])
    called = Counter(made["name"] for row in rows for made in calls(row["messages"]))
    for name in (name for also in NAMES.values() for name in also):
        assert offered[name] >= called[name] > 0


def test_no_other_name_stands_for_two_things():
    for table in (NAMES, KEYS):
        words = [*table, *(word for also in table.values() for word in also)]
        assert len(set(words)) == len(words)
    assert set(NAMES) == set(PARAMETERS)
    assert set(KEYS) == {key for keys in PARAMETERS.values() for key in keys}


def back(row: Row) -> Row:
    """Return a dialogue with its own names, told from the tables."""
    names = {other: name for name, also in NAMES.items() for other in also}
    keys = {other: key for key, also in KEYS.items() for other in also}
    row = json.loads(json.dumps(row))
    for made in calls(row["messages"]):
        made["name"] = names.get(made["name"], made["name"])
        made["arguments"] = {keys.get(key, key): value for key, value in made["arguments"].items()}
    return {**row, "tools": [schema(names.get(tool["name"], tool["name"])) for tool in row["tools"]]}


def test_a_dialogue_holds_once_its_own_names_are_put_back(rows):
    kept = [back(row) for row in rows if not is_new(row)]
    assert len(kept) > 0.9 * ROWS
    assert [row for row in kept if not holds(row)] == []


def test_every_value_is_of_the_training_side(rows):
    days = {day for listed in DAYS.values() for day in listed}
    for row in map(back, rows):
        for made in calls(row["messages"]):
            for key, value in made["arguments"].items():
                assert key in CLOSED or value in days or not is_heldout(value)


def test_the_answer_of_a_new_dialogue_tells_its_result(rows):
    for row in filter(is_new, rows):
        *_, question, call, result, answer = row["messages"]
        (made,) = call["tool_calls"]
        told = json.loads(result["content"])
        assert all(value in question["content"] for value in made["arguments"].values())
        assert str(told.get("high", told.get("time"))) in answer["content"]
        assert all(value in answer["content"] for value in made["arguments"].values())


def test_rows_are_chats_that_fit(rows):
    tokenizer = Tokenizer.load("starter")
    chats = [record for _, record in (recognise(row, "chat") for row in rows)]
    assert all(isinstance(record, Dialogue) for record in chats)
    for chat in encode_chats(tokenizer, [(each.messages, each.tools) for each in chats]):
        assert len(chat.ids) <= 512


def test_dialogues_that_are_held_out_stay_as_they_are():
    for row in dialogues(random.Random(3), True, 300):
        assert row["tools"] == [schema(tool["name"]) for tool in row["tools"]]
