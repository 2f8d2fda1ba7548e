"""Rows that are a question and its answer under two keys, whatever these are called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from danlu.data.messages import asked
from danlu.data.records import Dialogue
from danlu.data.rows import BadRow
from danlu.data.values import kind, optional, string

Row = Mapping[str, Any]

CONTEXT = re.compile(r"Instruction: (?P<instruction>.*?)(\nInput: (?P<input>.*?))?\nAnswer: ?", re.DOTALL)


def alpaca(row: Row, purpose: str | None) -> Dialogue:
    """Return {"instruction", "input", "output"}: what is asked is the instruction, a line end, the input.

    There may be a "system" text and a "history" of [question, answer] pairs before it.
    """
    question = together(string("instruction", row["instruction"]), optional(row, "input"))
    return asked(question, string("output", row["output"]), optional(row, "system"), _history(row))


def together(instruction: str, given: str) -> str:
    """Return an instruction and what it is to be applied to as one question.

    >>> together("Translate", "cat")
    'Translate\\ncat'
    """
    return f"{instruction}\n{given}" if given.strip() else instruction


def _history(row: Row) -> list[tuple[str, str]]:
    history = row.get("history") or []
    if not isinstance(history, list):
        raise BadRow("history", f"found {kind(history)}", "a list of [question, answer] pairs")
    for number, pair in enumerate(history):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise BadRow(f"history[{number}]", f"found {kind(pair)}", "a pair, [question, answer]")
        for place in range(2):
            string(f"history[{number}][{place}]", pair[place])
    return [(question, answer) for question, answer in history]


def belle(row: Row, purpose: str | None) -> Dialogue:
    """Return {"input", "target"}."""
    return asked(string("input", row["input"]), string("target", row["target"]))


def context(row: Row, purpose: str | None) -> Dialogue:
    """Return {"context", "target"}; the frame "Instruction: ... Input: ... Answer: " is taken off.

    >>> row = {"context": "Instruction: Translate\\nInput: cat\\nAnswer: ", "target": "猫"}
    >>> context(row, None).messages[0]["content"]
    'Translate\\ncat'
    """
    whole = string("context", row["context"])
    framed = CONTEXT.fullmatch(whole)
    if framed and framed["instruction"].strip():
        whole = together(framed["instruction"], framed["input"] or "")
    return asked(whole, string("target", row["target"]))


def adgen(row: Row, purpose: str | None) -> Dialogue:
    """Return {"content", "summary"}: features of a thing, and the text that advertises it."""
    return asked(string("content", row["content"]), string("summary", row["summary"]))
