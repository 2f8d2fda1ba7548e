"""Thoughts before an answer: <think> ... </think>.

    qwen3          there are thoughts where `<think>` begins the answer, or the prompt opened it; a call
                   made in the middle of them ends them
    deepseek_r1    an answer begins with thoughts, opened or not; what looks like a call in them is a thought

The line ends that chat templates write around thoughts (`<think>\\n`, `\\n</think>\\n\\n`) belong to
neither the thoughts nor the answer: a message sent back is written out as it was generated, and the next
turn finds its tokens in the cache. Thoughts that are never closed are all of the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from danlu.base.errors import pick
from danlu.tools.tape import Marks, Tape, Tell, Wait
from danlu.tools.told import Told

OPEN, CLOSE = "<think>", "</think>"
THOUGHTS = {"qwen3": "where opened", "deepseek_r1": "always"}


def thoughts_of(name: str) -> str:
    """Return the reasoning parser of that name."""
    return pick("reasoning parser", name, THOUGHTS)


def think(
    tape: Tape,
    told: Told,
    kind: str,
    thinking: bool,
    opens: Sequence[str],
    call: Callable[[str, Tell], Wait],
) -> Wait:
    """Read thoughts up to where the answer begins. `call` reads what a mark of `opens` opens."""
    always = THOUGHTS[kind] == "always"
    space = yield from tape.space()
    opened = bool((yield from tape.word(OPEN)))
    if opened:
        yield from tape.skip("\n", 1)
    elif not (thinking or always):
        told.content(space)
        return
    else:
        told.reasoning(space)
    marks = Marks(
        f"\n{CLOSE}", CLOSE, *(() if always else (f"{line}{mark}" for mark in opens for line in ("\n", "")))
    )
    calls = told.calls
    while mark := (yield from tape.until(marks, told.reasoning)):
        if mark.endswith(CLOSE):
            yield from tape.skip("\n", 2)
            return
        yield from call(mark, told.reasoning)
        if told.calls > calls:
            return
