"""Our parsers and vLLM's take the same answers apart alike; where they do not, the suite says why.

vLLM's hermes parser has a history that the suite goes through: streams that lose the end of their arguments
(vllm-project/vllm #18791), calls that are not found in them (#21544, #28297), arguments of another type told
wrongly (#28806), answers cut off by length (#10395).

White space at the edges of text is not compared. vLLM hands on the line ends that templates write around
thoughts and calls; sent back in the next turn they would be written twice. It means to drop them too: see the
note beside `qwen3_json` in its table of tool parsers.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from convert.vllm_side import find_python
from danlu.tools.parse import Message, parse
from tools import golden_hermes, golden_others
from tools.golden import TOOLS

ANSWERS = [*golden_hermes.ANSWERS, *golden_others.ANSWERS]
CHILD = Path(__file__).with_name("parsing_child.py")


@pytest.fixture(scope="module")
def said():
    """Every answer as vLLM takes it apart: whole, streamed, and in how many pieces its arguments came."""
    cases = [
        {
            "tool_parser": each.format,
            "reasoning_parser": each.thoughts,
            "text": each.text,
            "tools": TOOLS,
            "thinking": each.thinking,
            "eleventh": each.eleventh,
        }
        for each in ANSWERS
    ]
    done = subprocess.run(
        [find_python(), CHILD],
        input=json.dumps(cases),
        text=True,
        capture_output=True,
        env={**os.environ, "VLLM_LOGGING_LEVEL": "ERROR"},
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(cases), done.stderr[-2000:]
    return lines


def meaning(content, reasoning, calls):
    """What an answer says, whatever white space is around it and in its arguments."""
    return (content or "").strip(), (reasoning or "").strip(), [(name, loaded(text)) for name, text in calls]


def loaded(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


def ours(answer):
    told: Message = parse(answer.text, answer.format, answer.thoughts, thinking=answer.thinking, tools=TOOLS)
    return meaning(told.content, told.reasoning, [(call.name, call.arguments) for call in told.calls])


@pytest.mark.vllm
@pytest.mark.parametrize("way", ["whole", "streamed"])
@pytest.mark.parametrize(
    "number", range(len(ANSWERS)), ids=lambda n: f"{ANSWERS[n].format}-{ANSWERS[n].text[:40]!r}"
)
def test_vllm_reads_an_answer_alike_or_it_is_said_why_not(said, number, way):
    answer = ANSWERS[number]
    theirs = said[number][way]
    same = isinstance(theirs, list) and meaning(*theirs) == ours(answer)
    assert same == (not getattr(answer, way)), theirs
