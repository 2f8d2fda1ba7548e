"""A note and its record say the same, and a held-out one is made of values that training never tells."""

from __future__ import annotations

import json
import random

import pytest

from danlu.starter.notes import FIELDS, WORDS, notes
from danlu.starter.split import is_heldout
from danlu.starter.world import World

WORLDS = [World("zh"), World("en")]


def made(heldout: bool, count: int = 2000) -> list[str]:
    dice = random.Random(5)
    return [notes(WORLDS, dice, heldout)["text"] for _ in range(count)]


def parted(text: str) -> tuple[str, dict[str, str]]:
    """Return the words of a note, and its record."""
    halves = text.split("\n")
    assert len(halves) == 2
    said, record = halves if halves[1].startswith("{") else halves[::-1]
    return said, json.loads(record)


@pytest.fixture(scope="module", params=[False, True])
def side(request) -> tuple[bool, list[str]]:
    return request.param, made(request.param)


def test_everything_in_a_record_is_said_beside_it_as_it_stands(side):
    for text in side[1]:
        said, record = parted(text)
        assert record and all(value in said for value in record.values())


def test_nothing_else_is_said(side):
    known = {form for words in WORDS.values() for forms in words.values() for form in forms}
    for text in side[1]:
        said, record = parted(text)
        for value in sorted(record.values(), key=len, reverse=True):
            said = said.replace(value, "{}", 1)
        for form in sorted(known, key=len, reverse=True):
            said = said.replace(form, "")
        assert not said.strip(), text


def test_every_value_is_of_the_asked_side(side):
    heldout, texts = side
    for text in texts:
        for value in parted(text)[1].values():
            assert is_heldout(value) == heldout


def test_every_field_comes_in_every_wording_and_either_half_first(side):
    texts = side[1]
    assert {key for text in texts for key in parted(text)[1]} == set(FIELDS)
    assert 0.2 < sum(text.startswith("{") for text in texts) / len(texts) < 0.4
    for words in WORDS.values():
        assert set(words) == set(FIELDS)


def test_a_record_has_its_keys_in_an_order_of_its_own():
    orders = [parted(text) for text in made(False)]
    several = [(said, record) for said, record in orders if len(record) > 1]
    same = sum(
        [said.index(value) for value in record.values()] == sorted(said.index(v) for v in record.values())
        for said, record in several
    )
    assert 0.1 * len(several) < same < 0.6 * len(several)
