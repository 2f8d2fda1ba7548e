"""What an answer must be like: a call of a tool, JSON, JSON of a schema.

    tools, tool_choice auto             free, but a strict tool's call is held to its schema
    tools, tool_choice required, named  calls and nothing else
    response_format, structured_outputs JSON; beside tools that may be called: a call, or JSON

Making a grammar takes a while the first time, so it happens beside the event loop.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from danlu.base.errors import UserError
from danlu.serve.asking import Prompt
from danlu.serve.fields import Settings, StructuredOutputs
from danlu.serve.problems import refused, wrong
from danlu.serve.schema import ChatRequest, NamedTool
from danlu.serve.served import Served

ANY_OBJECT = {"type": "object"}


def form(served: Served) -> str:
    """Return in which form this model writes calls."""
    found = served.profile.tool_parser
    if found is None:
        raise wrong(
            "tools",
            "this model's chat template writes no calls",
            "leave them out, or set `tool_choice` to 'none'",
        )
    return found


def calling(given: ChatRequest) -> bool:
    """Say whether the answer may hold calls."""
    return bool(given.shown)


async def wanted(served: Served, given: Settings, prompt: Prompt | None = None) -> Any:
    """Return the grammar of an answer, None where any will do."""
    schema = _schema(given)
    if isinstance(given, ChatRequest) and calling(given):
        strict = any(tool.function.strict for tool in given.tools or [])
        if given.tool_choice in (None, "auto") and not strict and schema is None:
            return None
        return await _made("tools", lambda: _calls(served, given, prompt, schema))
    if schema is None:
        return None
    return await _made("response_format", lambda: _json(served, schema, prompt))


async def _made(param: str, make: Callable[[], Any]) -> Any:
    try:
        return await asyncio.to_thread(make)
    except UserError as error:
        raise refused(error, param) from None
    except ModuleNotFoundError as error:
        raise wrong(param, f"the server lacks {error.name}", "pip install 'danlu[serve]'") from None


def _calls(served: Served, given: ChatRequest, prompt: Prompt | None, schema: Any) -> Any:
    from danlu.generate import grammar  # the library behind it is an extra

    choice: Any = given.tool_choice or "auto"
    named = isinstance(choice, NamedTool)  # one call is wanted, and only one is told
    if named:
        choice = choice.model_dump()
    return grammar.tool_calls(
        served.tokenizer,
        form(served),
        [tool.given for tool in given.tools or []],
        choice,
        parallel=given.parallel_tool_calls is not False and not named,
        thinking=prompt.thoughts if prompt else "",
        ends=served.ends,
        instead=schema,
    )


def _json(served: Served, schema: Any, prompt: Prompt | None) -> Any:
    from danlu.generate import grammar  # the library behind it is an extra

    thinking = prompt.thoughts if prompt else ""
    return grammar.json_schema(served.tokenizer, schema, thinking=thinking, ends=served.ends)


def _schema(given: Settings) -> Any:
    """Return the schema an answer must satisfy; None where it may be any text."""
    if given.structured_outputs:
        return _of_vllm(given.structured_outputs)
    asked = given.response_format
    if asked is None or asked.type == "text":
        return None
    if asked.type == "json_object" or asked.json_schema is None or asked.json_schema.schema_ is None:
        return ANY_OBJECT
    return asked.json_schema.schema_


def _of_vllm(given: StructuredOutputs) -> Any:
    if given.json_ is None or isinstance(given.json_, dict):
        return ANY_OBJECT if given.json_ is None else given.json_
    try:
        return json.loads(given.json_)
    except ValueError as error:
        raise wrong("structured_outputs.json", f"not JSON: {error}", "a JSON schema") from None
    except RecursionError:
        raise wrong("structured_outputs.json", "is nested too deep", "make it flatter") from None
