"""Lines that are almost JSON give the values they surely hold, and nothing else is touched."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.data.lint.repair import repaired
from danlu.data.rows import BadRow

TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
ROWS = st.dictionaries(TEXTS, TEXTS | st.lists(TEXTS, max_size=3) | st.integers() | st.none(), min_size=1)
BROKEN = ['{"a": ', '{"a" "b"}', "{'a': 1}", '{"a": tru}', '{"a": 1}}', '"a" "b"', "a", "1 2", '{"a": NaN}']


def dumped(row):
    return json.dumps(row, ensure_ascii=False)


@given(ROWS)
def test_a_good_line_is_only_read(row):
    assert repaired(dumped(row)) == ([row], [])


@given(ROWS)
def test_a_comma_too_many_is_taken_off_outside_of_texts_only(row):
    line = dumped(row)
    for broken in (line + ",", line[:-1] + ",}", line[:-1] + " , } ,"):
        assert repaired(broken) == ([row], ["commas too many"])


@given(st.lists(ROWS, min_size=2, max_size=4), st.sampled_from([" ", "", ", ", "\t"]))
def test_several_values_on_a_line_become_rows(rows, between):
    assert repaired(between.join(map(dumped, rows)))[0] == rows


@given(st.lists(ROWS, min_size=1, max_size=4))
def test_a_list_of_rows_becomes_rows_in_one_line_or_in_many(rows):
    assert repaired(dumped(rows)) == (rows, ["rows in a list"])
    lines = ["[" + dumped(rows[0]) + ",", *(dumped(row) + "," for row in rows[1:]), "]"]
    assert [row for line in lines for row in repaired(line)[0]] == rows


@given(st.text(st.characters(max_codepoint=0x7F), min_size=1, max_size=9))
def test_control_characters_as_they_are_become_escaped_ones(text):
    line = json.dumps({"a": text}, ensure_ascii=False)
    for sign in "\t\n\x08\x0c\r":
        line = line.replace(json.dumps(sign)[1:-1], sign) if "\\" not in text else line
    assert repaired(line)[0] == [{"a": text}]


@pytest.mark.parametrize("line", BROKEN)
def test_what_would_have_to_be_guessed_is_refused(line):
    with pytest.raises(BadRow):
        repaired(line)
