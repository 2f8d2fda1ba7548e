"""Stop strings against an oracle that looks at the text letter by letter, all at once."""

from __future__ import annotations

import doctest

from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.generate import stop
from danlu.generate.stop import StopStrings


def oracle(text, stops):
    """Return the text before the stop string that is complete first, the longest of those."""
    for end in range(len(text) + 1):
        for word in sorted(stops, key=len, reverse=True):
            if text[:end].endswith(word):
                return text[: end - len(word)], True
    return text, False


letters = st.text("ab丹", max_size=12)


@settings(max_examples=300, deadline=None)
@given(st.lists(letters, max_size=6), st.lists(st.text("ab丹", min_size=1, max_size=4), max_size=3))
def test_however_text_is_cut_it_ends_where_the_whole_would(pieces, stops):
    expected, ends = oracle("".join(pieces), stops)
    passing, shown, ended = StopStrings(stops), "", False
    for piece in pieces:
        text, ended = passing.push(piece)
        shown += text
        assert expected.startswith(shown)
        if ended:
            break
    assert ended == ends
    assert shown + ("" if ended else passing.flush()) == expected


def test_nothing_is_held_back_that_cannot_become_a_stop_string():
    passing = StopStrings(["###"])
    assert [passing.push(piece)[0] for piece in ("a", "b#", "c", "##", "#")] == ["a", "b", "#c", "", ""]
    assert StopStrings([]).push("at once") == ("at once", False)


def test_the_examples_hold():
    assert doctest.testmod(stop).failed == 0
