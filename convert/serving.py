"""serve.json: what a server must be started with so that it reads and answers as training did.

    {"architecture": "Qwen3ForCausalLM", "dtype": "bfloat16", "max_model_len": 32768,
     "tool_parser": "hermes", "reasoning_parser": "qwen3", "template_sha256": ..., "stop_token_ids": [2]}

Parsers bear vLLM's names. They are told from what the chat template writes, not from the family's name: a
model speaks as it was taught.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from convert.recipe import Recipe
from convert.served import limits
from danlu.base.errors import UserError
from danlu.tokenizer.spans import render
from danlu.tokenizer.template import Message
from danlu.tokenizer.tokenizer import Tokenizer

FILE = "serve.json"
FORMAT = 1

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


def profile(recipe: Recipe) -> dict[str, Any]:
    """Return what serve.json says of an export."""
    source, words = recipe.source, recipe.source.tokenizer
    template = words.template if words else None
    return {
        "format": FORMAT,
        "architecture": recipe.family.architecture,
        "dtype": str(recipe.dtype or source.dtype).removeprefix("torch."),
        "max_model_len": source.cfg.max_position_embeddings,
        "tool_parser": tool_parser(words) if words and template else None,
        "reasoning_parser": reasoning_parser(words) if words and template else None,
        "chat_template": "chat_template.jinja" if template else None,
        "template_sha256": hashlib.sha256(template.encode()).hexdigest() if template else None,
        "tokenizer": words.fingerprint if words else None,
        "stop_token_ids": source.ends(),
        "vllm_differs": warnings(recipe),
    }


def warnings(recipe: Recipe) -> list[str]:
    """Return what the pinned vLLM is known not to do as training did with a model like this."""
    found = limits(recipe.family.model_type, recipe.source.cfg)
    refuses = {True: "and says so", False: "and says nothing: serve it by other means"}
    return [f"vLLM differs here, {refuses[limit.says_so]}: {limit.words}" for limit in found]


def tool_parser(words: Tokenizer) -> str | None:
    """Return the parser of the form in which the template writes a call, None where it writes none."""
    try:
        text = render(words, ASKED, [TOOL])
    except UserError:  # a template that knows no tools may well refuse them
        return None
    if NAME not in text.replace(render_without_calls(words), ""):
        return None
    return next((parser for form, parser in CALLS if re.search(form, text)), None)


def render_without_calls(words: Tokenizer) -> str:
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
