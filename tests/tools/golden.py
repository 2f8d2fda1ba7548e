"""What an answer of a model says; where vLLM says something else, why ours does not.

`whole` and `streamed` tell how vLLM 0.32 differs, parsing a complete answer or one on its way; empty where
it agrees. Reasons that recur have a name. The differences are checked to exist, so that none outlives its
reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from danlu.tools.definitions import openai_form

AFTER = "text after a call is dropped; somebody meant to say it"
ALL_TEXT = "one broken call turns all into text, those before it too; a stream has told them already"
HALF_TOLD = "a call without a beginning is swallowed in a stream; nothing of it is told"
ADVANCES = "streamed whatever is cut off; parsed whole it is text: one answer, two readings"
TAG_LOST = "held back as the beginning of a tag, and never told when the answer ends"
STRING = "an object inside a JSON string is passed on in quotes, so that no client finds an object"
IN_STRING = "a closing tag inside a string ends the call in the middle of an argument"
BARE = "a call without arguments is a call to those who stream it, and text to those who do not"
BRACE = "what follows the object is text when whole, and part of the arguments when streamed"


@dataclass(frozen=True)
class Answer:
    """An answer and what it says."""

    format: str
    text: str
    content: str | None = None
    calls: list[tuple[str, Any]] = field(default_factory=list)
    """Names and arguments: as an object, or as the text they are if they are no JSON."""
    reasoning: str | None = None
    thoughts: str | None = None
    """The reasoning parser."""
    thinking: bool = False
    whole: str = ""
    streamed: str = ""
    eleventh: bool = False
    """Whether the tokenizer has the control tokens of Mistral's eleventh."""


def tool(name: str, **properties: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {key: {"type": kind} for key, kind in properties.items()}}
    return openai_form({"name": name, "parameters": schema})


TOOLS = [
    tool("get_weather", city="string", days="integer", unit="string"),
    tool("get_time"),
    tool("note", text="string", tags="array", done="boolean", at="number"),
]


BEIJING, TIME = ("get_weather", {"city": "北京"}), ("get_time", {})
