"""From the messages of a request to the tokens the model reads: those that training would have made.

    [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]     ->  [1, 407, 268, ...]

The roles must be in the order a model has learned. Arguments of earlier calls, JSON text in OpenAI's API,
reach the template as the objects they stand for, as they do in vLLM and in training.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from danlu.base.errors import UserError
from danlu.serve.problems import Refusal, refused, shown, wrong
from danlu.serve.schema import Asking, Message, ToolCall
from danlu.tokenizer.chat import encode_chat
from danlu.tokenizer.spans import control_of
from danlu.tokenizer.tokenizer import Tokenizer

RESERVED = (
    "messages",
    "tools",
    "add_generation_prompt",
    "continue_final_message",
    "chat_template",
    "tokenize",
)
"""What the template is told by the request itself."""
THINKS, THOUGHT = "<think>", "</think>"


@dataclass
class Prompt:
    """A rendered chat."""

    ids: list[int]
    thoughts: str = ""
    """Whether the answer "may" begin with thoughts, or begins inside one that the prompt has "opened"."""


def asked(tokenizer: Tokenizer, given: Asking, reasoning: bool = False) -> Prompt:
    """Return what the model reads for a request; `reasoning` says whether it thinks before it answers."""
    messages = checked(given.messages)
    last = messages[-1]["role"]
    goes_on = bool(given.continue_final_message)
    if goes_on and last != "assistant":
        raise wrong("continue_final_message", f"the last message is of {last}", "end with the assistant's")
    begins = not goes_on and given.add_generation_prompt is not False
    if begins and last == "assistant":
        raise wrong(
            "messages",
            "the last one is the assistant's, so there is nothing to answer",
            "end with the user's, or set `continue_final_message`",
        )
    tools = [tool.given for tool in given.shown]
    thinking, variables = _variables(given)
    try:
        chat = encode_chat(tokenizer, messages, tools or None, begins, thinking, variables)
    except UserError as error:
        raise refused(error, "messages") from None
    except RecursionError:
        raise wrong("messages", "something in the chat is nested too deep", "make it flatter") from None
    if goes_on:
        return Prompt(_until_the_end(chat.ids, chat.offsets, chat.spans[-1].end))
    written = chat.text.rstrip()
    closed = not (reasoning and begins) or written.endswith(THOUGHT)
    return Prompt(chat.ids, "" if closed else "opened" if written.endswith(THINKS) else "may")


def text_ids(tokenizer: Tokenizer, text: str, begin: bool = True) -> list[int]:
    """Return the ids of a text to be continued; control tokens written in it are control tokens.

    The caller wrote all of this text, so it may hold a chat it has rendered itself. In the messages of a chat
    control tokens are always text.
    """
    ids = tokenizer.beginning() if begin else []
    control = control_of(tokenizer)
    at = 0
    for match in control.typed.finditer(text):
        ids += _plain(tokenizer, text[at : match.start()], at == 0)
        ids.append(tokenizer.control[match[0]]["id"])
        at = match.end()
    return ids + _plain(tokenizer, text[at:], at == 0)


def _plain(tokenizer: Tokenizer, text: str, starts: bool) -> list[int]:
    return list(tokenizer.encode_pieces([text], [starts])[0].ids) if text else []


def _variables(given: Asking) -> tuple[bool | None, dict[str, Any]]:
    """Return whether thinking is asked for, and what else the template may use."""
    variables = dict(given.chat_template_kwargs or {})
    for name in RESERVED:
        if name in variables:
            raise wrong(f"chat_template_kwargs.{name}", "is not the template's to be told", "leave it out")
    thinking = variables.pop("enable_thinking", given.enable_thinking)
    if thinking is not None and not isinstance(thinking, bool):
        raise wrong("chat_template_kwargs.enable_thinking", f"found {shown(thinking)}", "true or false")
    if given.reasoning_effort is not None:
        variables.setdefault("reasoning_effort", given.reasoning_effort)
        if thinking is None:
            thinking = given.reasoning_effort != "none"
    return thinking, variables


def _until_the_end(ids: Sequence[int], offsets: Sequence[tuple[int, int]], end: int) -> list[int]:
    """Return the tokens before the one that ends the last turn."""
    return [token for token, (_, stop) in zip(ids, offsets) if stop <= end]


def checked(given: Sequence[Message]) -> list[dict[str, Any]]:
    """Return messages as the template reads them, their roles in order and every call with its result."""
    messages: list[dict[str, Any]] = []
    waiting: dict[str, int] = {}
    before = ""
    for number, message in enumerate(given):
        place = f"messages[{number}]"
        role = "system" if message.role == "developer" else message.role
        _order(f"{place}.role", role, before)
        if role == "tool":
            _result(place, message, waiting)
        elif waiting:
            raise wrong(
                f"{place}.role",
                f"{role} before the results of {_calls(waiting)}",
                "send a tool's message for each call first",
            )
        messages.append(_plain_message(place, role, message))
        if role == "assistant":
            waiting = _called(f"{place}.tool_calls", message.tool_calls or [])
        before = role
    if waiting:
        raise wrong("messages", f"no result of {_calls(waiting)}", "send a tool's message for each call")
    return messages


def _order(place: str, role: str, before: str) -> None:
    if role == "system" and before:
        raise wrong(place, f"a system message after {before}", "a system message comes first, once")
    if role == "assistant" and before == "assistant":
        raise wrong(place, "assistant twice in a row", "join the two messages")
    if role == "tool" and before not in ("assistant", "tool"):
        raise wrong(place, f"a tool's result after {before or 'nothing'}", "it follows the assistant's call")


def _called(place: str, calls: Sequence[ToolCall]) -> dict[str, int]:
    """Return the calls whose results must follow, by their ids."""
    waiting: dict[str, int] = {}
    for number, call in enumerate(calls):
        name = call.id if call.id is not None else f"number {number}"
        if name in waiting:
            raise wrong(f"{place}[{number}].id", f"{shown(name)} twice", "each call has an id of its own")
        waiting[name] = number
    return waiting


def _result(place: str, message: Message, waiting: dict[str, int]) -> None:
    if not waiting:
        raise wrong(
            f"{place}.role", "a tool's result without a call", "send the assistant's `tool_calls` before it"
        )
    name = message.tool_call_id
    if name is None:
        name = next(iter(waiting))
    if name not in waiting:
        raise wrong(
            f"{place}.tool_call_id", f"found {shown(name)}, which nobody called", f"one of: {_calls(waiting)}"
        )
    del waiting[name]


def _calls(waiting: dict[str, int]) -> str:
    return ", ".join(shown(name) for name in waiting)


def _plain_message(place: str, role: str, message: Message) -> dict[str, Any]:
    content = message.content
    text = (
        content if content is None or isinstance(content, str) else "\n".join(part.text for part in content)
    )
    plain: dict[str, Any] = {"role": role, "content": text if text is not None else ""}
    if role == "assistant":
        thoughts = message.reasoning_content if message.reasoning_content is not None else message.reasoning
        if thoughts is not None:
            plain["reasoning_content"] = thoughts
        if message.tool_calls:
            plain["tool_calls"] = [_call(call) for call in message.tool_calls]
    elif text is None and role != "tool":  # a tool may have nothing to say
        raise wrong(f"{place}.content", "is missing", "a text, or a list of parts")
    if message.name is not None:
        plain["name"] = message.name
    if message.tool_call_id is not None:
        plain["tool_call_id"] = message.tool_call_id
    if role == "assistant" and text is None and not (plain.keys() & {"tool_calls", "reasoning_content"}):
        raise wrong(f"{place}.content", "is missing", "the assistant says something or calls a tool")
    return plain


def _call(call: ToolCall) -> dict[str, Any]:
    """Return a call with its arguments as an object.

    What is none was written by a model, and must not end the conversation that holds it: it is an empty
    one, as in vLLM.
    """
    arguments: Any = call.function.arguments or {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
            json.dumps(arguments, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # half a character: no template could write it
            arguments = json.loads(json.dumps(arguments, ensure_ascii=False).encode(errors="replace"))
        except (ValueError, RecursionError):
            arguments = {}
    if not isinstance(arguments, dict):
        arguments = {}
    plain: dict[str, Any] = {
        "type": "function",
        "function": {"name": call.function.name, "arguments": arguments},
    }
    return {"id": call.id, **plain} if call.id is not None else plain


def too_long(prompt: Sequence[int], most: int, wanted: int | None, name: str, param: str) -> Refusal | None:
    """Return the refusal of a prompt (`param`) that leaves too little room for its answer (`name`)."""
    asked_for = wanted or 1
    over = len(prompt) + asked_for - most
    if over <= 0:
        return None
    answer = f"{name} asks for {wanted} more" if wanted else "its answer needs at least one more"
    hint = f"shorten it by {over}" + (f", or lower {name}" if wanted else "")
    if wanted and len(prompt) < most:
        hint = f"lower {name} to {most - len(prompt)}, or shorten the prompt by {over}"
    return Refusal(
        400,
        f"the prompt has {len(prompt)} tokens and {answer}: {over} more than the {most} of the context;"
        f" {hint}",
        param=name if wanted and wanted >= most else param,
        code="context_length_exceeded",
    )
