"""Tools written out in a system text, taken out of it again where the frame around them is known.

    ours      "Be brief.\\n\\n# Tools\\n\\nThese functions may be called:\\n<tools>\\n{...}\\n</tools>..."
    Hermes    "You are a function calling AI model. ... <tools> [{...}] </tools> ..."
    Glaive    "You are ... with access to the following functions. Use them if required -\\n{...}"

What a frame is not known for stays in the text as it is.
"""

from __future__ import annotations

import json
import re
from typing import Any

from danlu.data.literals import printed

Tools = list[dict[str, Any]]

OURS = re.compile(
    r"(?:(?P<before>.*?)\n\n)?# Tools\n\nThese functions may be called:\n<tools>\n(?P<tools>.*)\n</tools>\n\n"
    r'To call one, write:\n<tool_call>\n\{"name": <name>, "arguments": <object>\}\n</tool_call>',
    re.DOTALL,
)
HERMES = re.compile(
    r"(?P<before>)\s*You are a function calling AI model\..*<tools>(?P<tools>.*?)</tools>.*", re.DOTALL
)
GLAIVE = re.compile(
    r"(?:SYSTEM: )?(?P<before>.*?) with access to the following functions\."
    r" Use them if required -(?P<tools>.*)",
    re.DOTALL,
)
FRAMES = (OURS, HERMES, GLAIVE)


def lifted(text: str) -> tuple[str, Tools | None]:
    """Return a system text without the tools in it, and the tools; or the text as it is, and None.

    >>> lifted('You help with access to the following functions. Use them if required -\\n{"name": "f"}')
    ('You help.', [{'name': 'f'}])
    """
    for frame in FRAMES:
        if (found := frame.fullmatch(text)) and (tools := _values(found["tools"])):
            before = found["before"] or ""
            return (f"{before}." if frame is GLAIVE and before else before), tools
    return text, None


def _values(text: str) -> Tools | None:
    """Return the objects that a text is made of, in a list or not; None if it is anything else.

    They are JSON, or what Python prints.
    """
    decoder, values, at = json.JSONDecoder(), [], 0
    text = text.strip()
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            value = None if at else printed(text)
            if value is None:
                return None
            at = len(text)
        values += value if isinstance(value, list) else [value]
        at += len(text[at:]) - len(text[at:].lstrip(" \t\r\n,"))
    return values if all(isinstance(value, dict) for value in values) else None
