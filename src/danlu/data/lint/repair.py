"""Lines of text that are almost JSON, as the values they surely hold.

    {"text": "a",}                  a comma too many
    {"text": "a"} {"text": "b"}     several values on a line
    [{"text": "a"},                 a list with a row a line
    {"text": "a<TAB>b"}             control characters as they are, where JSON wants them escaped

Each repair changes signs that mean nothing; words are never added, left out or moved.
"""

from __future__ import annotations

import json
import re
from typing import Any

from danlu.data.formats.json_value import parse
from danlu.data.rows import BadRow

STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
COMMA = re.compile(r",(?=\s*[\]}])")
BETWEEN = re.compile(r"\s*,?\s*")
RAW = re.compile(r"[\x00-\x1f]")
DECODER = json.JSONDecoder()
BRACKETS = {"[", "]", "],"}


def repaired(line: str) -> tuple[list[Any], list[str]]:
    """Return the values of a line and the names of the repairs it took, or raise what is wrong with it.

    >>> repaired('{"a": "x",} {"a": "y"},')
    ([{'a': 'x'}, {'a': 'y'}], ['commas too many', 'several values on a line'])
    """
    line = line.strip()
    if line in BRACKETS:
        return [], ["rows in a list"]
    try:
        return _rows([parse(line.encode())], [])
    except BadRow as bad:
        changed, names = _cleaned(line)
        values = _several(changed)
        if not values:
            raise bad from None
    if len(values) > 1:
        names.append("several values on a line")
    return _rows([parse(value.encode()) for value in values], names)


def _rows(values: list[Any], names: list[str]) -> tuple[list[Any], list[str]]:
    """Return values with a list of rows taken apart."""
    if len(values) == 1 and isinstance(values[0], list) and all(isinstance(row, dict) for row in values[0]):
        return values[0], [*names, "rows in a list"]
    return values, names


def _cleaned(line: str) -> tuple[str, list[str]]:
    """Return a line without signs that mean nothing, and what they were."""
    names: list[str] = []
    out: list[str] = []  # what is between texts, a text, what is between, ...
    at = 0
    for string in [*STRING.finditer(line), None]:
        between = line[at : string.start() if string else len(line)]
        fewer = COMMA.sub("", between)
        out.append(fewer)
        names += ["commas too many"] * (fewer != between)
        if string:
            at = string.end()
            safe = RAW.sub(_escaped, string[0])
            out.append(safe)
            names += ["control characters not escaped"] * (safe != string[0])
    text = "".join(out).strip()
    bones = "".join(out[::2])
    bare = text.removeprefix("[") if bones.count("[") > bones.count("]") else text
    bare = bare.removesuffix("]") if bones.count("[") < bones.count("]") else bare
    names += ["rows in a list"] * (bare != text)
    without = bare.strip().removesuffix(",")
    names += ["commas too many"] * (without != bare.strip())
    return without, list(dict.fromkeys(names))


def _escaped(sign: re.Match[str]) -> str:
    return json.dumps(sign[0])[1:-1]


def _several(text: str) -> list[str]:
    """Return the values that stand one after another, commas between or not; none if one is broken."""
    values: list[str] = []
    at = 0
    while at < len(text):
        begin = at
        try:
            value, at = DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            return []
        if not isinstance(value, (dict, list)):
            return []
        values.append(text[begin:at])
        if between := BETWEEN.match(text, at):
            at = between.end()
    return values
