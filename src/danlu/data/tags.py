"""Where the tags of a thoughtful answer are: the four that frame it, not others like them.

<think>           <- true      the answer begins with it
is 3 </think...   <- text
</think>          <- true      the first that closes it
<answer>          <- true      follows at once
<answer> is a tag <- text
</answer>         <- true      ends the answer
"""

from __future__ import annotations

import re

THINK = re.compile(r"\s*(<think>)(?:.*?)(</think>)", re.DOTALL)
ANSWER = re.compile(r"\s*(<answer>)(?:.*)(</answer>)\s*\Z", re.DOTALL)


def true_tags(said: str) -> list[tuple[int, int]]:
    """Return the characters [start, stop) of the tags that frame an answer, in order.

    >>> true_tags("<think>a</think><answer>b</answer>")
    [(0, 7), (8, 16), (16, 24), (25, 34)]
    >>> true_tags("the tag <think> is text here")
    []
    """
    thought = THINK.match(said)
    answer = ANSWER.match(said, thought.end() if thought else 0)
    return [match.span(group) for match in (thought, answer) if match for group in (1, 2)]
