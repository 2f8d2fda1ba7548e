"""Rows that say the same, or nearly the same: what is told is true, and what is true is told."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.data.lint.duplicates import ALIKE, Index, Twin
from danlu.data.lint.shingles import likeness, plain
from danlu.data.lint.signatures import signatures

LETTERS = "abcdefghijklmnopqrstuvwxyz      "
CHINESE = "的一是不了在人有我他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对"


def grams(text):
    """The oracle: a set of strings."""
    text = plain(text).ljust(5, "\0")
    return {text[i : i + 5] for i in range(len(text) - 4)}


def jaccard(one, other):
    return len(grams(one) & grams(other)) / len(grams(one) | grams(other))


def written(dice, alphabet, length):
    return "".join(dice.choices(alphabet, k=length))


def edited(dice, text, alphabet, edits):
    """A text with some places changed, left out or added."""
    for _ in range(edits):
        place = dice.randrange(len(text) + 1)
        text = text[:place] + dice.choice(["", dice.choice(alphabet)]) + text[place + dice.choice([0, 1]) :]
    return text


def crowd(seed, rows=400):
    """Texts of many lengths, each perhaps an edited copy, or a copy's copy, of one before."""
    dice = random.Random(seed)
    texts = []
    for _ in range(rows):
        alphabet = dice.choice([LETTERS, CHINESE])
        if texts and dice.random() < 0.6:
            texts.append(edited(dice, dice.choice(texts), alphabet, dice.choice([1, 1, 1, 2, 4, 9, 30])))
        else:
            texts.append(written(dice, alphabet, dice.choice([6, 20, 80, 300, 900])))
    return texts


def twins_of(texts, against=()):
    index = Index()
    for text in texts:
        index.add(hash(text) & (2**64 - 1), text)
    if against:
        index.close()
    for text in against:
        index.add(hash(text) & (2**64 - 1), text)
    return list(index.twins())


@given(st.text(max_size=60), st.text(max_size=60))
def test_likeness_is_that_of_the_sets_of_strings(one, other):
    assert likeness(plain(one), plain(other)) == pytest.approx(jaccard(one, other))


@given(st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=8))
def test_a_signature_is_the_same_whatever_stands_beside_the_text(texts):
    together = signatures(texts)
    assert all((signatures([text])[0] == together[row]).all() for row, text in enumerate(texts))


@given(st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_signatures_agree_as_often_as_texts_are_alike(seed):
    dice = random.Random(seed)
    one = written(dice, LETTERS, 600)
    other = edited(dice, one, LETTERS, dice.choice([1, 10, 40]))
    agree = (np.equal(*signatures([one, other]))).mean()
    assert agree == pytest.approx(jaccard(one, other), abs=0.25)  # six deviations


@pytest.mark.parametrize("seed", range(4))
def test_near_duplicates_are_those_of_brute_force(seed):
    texts = crowd(seed)
    found = {twin.row: twin for twin in twins_of(texts)}
    for twin in found.values():
        alike = jaccard(texts[twin.row], texts[twin.of])
        assert twin.of < twin.row and alike >= ALIKE and twin.likeness == pytest.approx(alike)
        assert twin.equal == (texts[twin.row] == texts[twin.of])
    sets = [grams(text) for text in texts]
    alike = [
        row
        for row in range(len(texts))
        if any(len(sets[row] & sets[of]) >= 0.9 * len(sets[row] | sets[of]) for of in range(row))
    ]
    assert len(alike) > 50, "the crowd holds too few to judge by"
    assert len(found.keys() & set(alike)) >= 0.95 * len(alike)


def test_equal_rows_are_told_as_equal_to_the_first():
    assert twins_of(["one", "two", "one", "one"]) == [Twin(2, 0, 1.0, True), Twin(3, 0, 1.0, True)]


def test_rows_of_the_other_set_are_held_against_the_first_only():
    dice = random.Random(5)
    mine = [written(dice, LETTERS, 200) for _ in range(20)]
    strange = written(dice, LETTERS, 200)
    theirs = [strange, mine[3], edited(dice, mine[7], LETTERS, 1), strange]
    found = twins_of(mine, theirs)
    assert [(twin.row, twin.of, twin.equal) for twin in found] == [(21, 3, True), (22, 7, False)]


def test_nothing_and_little_have_no_twins():
    assert twins_of([]) == []
    assert twins_of(["", "a"]) == []
    assert twins_of(["", ""]) == [Twin(1, 0, 1.0, True)]


def test_a_crowd_of_one_mould_takes_no_quadratic_time():
    dice = random.Random(9)
    mould = written(dice, LETTERS, 120)
    texts = [mould + str(number) for number in range(4000)]
    found = twins_of(texts)
    assert len(found) == 3999 and {twin.equal for twin in found} == {False}
