"""In which form a model speaks of tools and of thoughts, told from what its chat template writes.

    tool_parser(words)        "hermes" for <tool_call>{...}</tool_call>, None where calls are unknown
    reasoning_parser(words)   "qwen3" for <think>...</think>, "deepseek_r1" where the prompt opens the thought

The names are those of vLLM's parsers. The template tells, not the family's name: a model speaks as it was
taught.
"""

from __future__ import annotations

import re

from danlu.base.errors import UserError
from danlu.tokenizer.spans import render
from danlu.tokenizer.template import Message
from danlu.tokenizer.tokenizer import Tokenizer

NAME, CITY = "weather_of", "Hangzhou"
TOOL = {
    "type": "function",
    "function": {
        "name": NAME,
        "description": "The weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
ASKED: list[Message] = [
    {"role": "user", "content": "Weather?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"id": "abcdefghi", "type": "function", "function": {"name": NAME, "arguments": {"city": CITY}}}
        ],
    },
]
# How a call of the tool above looks, most telling first, and vLLM's parser of that form.
CALLS = (
    (r"<tool_call>\s*<function=weather_of", "qwen3_coder"),
    (r"<tool_call>\s*weather_of\s*<arg_key>", "glm45"),
    (r"<tool_call>\s*\{", "hermes"),
    (r"\[TOOL_CALLS\]", "mistral"),
    (r"<｜tool▁calls▁begin｜>", "deepseek_v3"),
    (r"<\|action_start\|>", "internlm"),
    (r"functools\[|<\|tool_call\|>", "phi4_mini_json"),
    (r"\{\s*\"name\": \"weather_of\",\s*\"parameters\"", "llama3_json"),
    (r"\[weather_of\(city=", "pythonic"),
)


def tool_parser(words: Tokenizer) -> str | None:
    """Return the parser of the form in which the template writes a call, None where it writes none."""
    try:
        text = render(words, ASKED, [TOOL])
    except UserError:  # a template that knows no tools may well refuse them
        return None
    if NAME not in text.replace(_without_calls(words), ""):
        return None
    return next((parser for form, parser in CALLS if re.search(form, text)), None)


def _without_calls(words: Tokenizer) -> str:
    """Return what the template writes of the question and the tools alone."""
    try:
        return render(words, ASKED[:1], [TOOL])
    except UserError:
        return ""


def reasoning_parser(words: Tokenizer) -> str | None:
    """Return the parser of thoughts, None where the template knows of none."""
    if "<think>" not in words.chat_template:
        return None
    try:
        asked = render(words, ASKED[:1], add_generation_prompt=True)
    except UserError:
        return None
    # Where the question already opens the thought, the answer holds only its end.
    return "deepseek_r1" if asked.rstrip().endswith("<think>") else "qwen3"
