"""Where the assistant speaks in a rendered chat, for any template.

    plain   <|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nhello<|im_end|>\n
    marked  <|im_start|>user\n[b0]hi[e0]<|im_end|>\n<|im_start|>assistant\n[b1]hello[e1]<|im_end|>\n
                                                                          ^start     ^end      ^stop

The chat is rendered twice, with and without marks (see marks.py); if the marks are all that differs,
what a message says lies between its marks. A turn begins after the header that the template writes to
invite an answer. Only where a control token makes that header impossible to type is it looked for, and
only between what was said before and this message's mark; otherwise a turn begins at its mark.
"""

from __future__ import annotations

import bisect
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from danlu.base.errors import UserError
from danlu.tokenizer import template
from danlu.tokenizer.marks import MARK, Control, marked
from danlu.tokenizer.template import Message
from danlu.tokenizer.tokenizer import Tokenizer

ROLES = ("system", "user", "assistant", "tool")
Tools = Sequence[Mapping[str, Any]]


class Span(NamedTuple):
    """Characters [start, stop) of the rendered text that message number `message` teaches."""

    message: int
    start: int
    end: int
    """Where its words end and the token that ends the turn begins."""
    stop: int
    weight: float


def render(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    tools: Tools | None = None,
    add_generation_prompt: bool = False,
    enable_thinking: bool | None = None,
    variables: Mapping[str, Any] | None = None,
) -> str:
    """Return the text of a chat as its template writes it; `variables` are more that it may ask for."""
    known = {**tokenizer.variables, **(variables or {})}
    return template.render(
        tokenizer.chat_template, messages, tools, add_generation_prompt, enable_thinking, known
    )


def marked_rendering(
    tokenizer: Tokenizer,
    safe: list[Message],
    tools: Tools | None,
    thinking: bool | None,
    trust: bool = True,
    variables: Mapping[str, Any] | None = None,
) -> str:
    """Return the rendering with marks, proved to differ from the one without by the marks alone.

    Some templates look at how a user's text begins; then only the assistant's words are marked. Our own
    template needs no proof: it writes what is said just once, and asks of it only whether there is any,
    which marks do not change. So it is rendered once, unless `trust` is false.
    """
    if trust and tokenizer.template == template.OURS:
        return render(tokenizer, marked(safe, ROLES), tools, False, thinking, variables)
    plain = render(tokenizer, safe, tools, False, thinking, variables)
    for roles in (ROLES, ("assistant",)):
        with_marks = marked(safe, roles)
        raw = render(tokenizer, with_marks, tools, False, thinking, variables)
        if MARK.sub("", raw) == plain:
            wanted = [
                n for n, (a, b) in enumerate(zip(with_marks, safe)) if a is not b and a["role"] == "assistant"
            ]
            found = [(m[1], int(m[2])) for m in MARK.finditer(raw) if safe[int(m[2])]["role"] == "assistant"]
            missing = next(
                (n for n in wanted if found.count(("b", n)) != 1 or found.count(("e", n)) != 1), None
            )
            if missing is None:
                return raw
            raise _altered(tokenizer, missing)
    raise _altered(tokenizer, next(n for n, message in enumerate(safe) if message["role"] == "assistant"))


def _altered(tokenizer: Tokenizer, number: int) -> UserError:
    return UserError(
        f"the chat template of {tokenizer.name} changes, repeats or drops what message {number} says,"
        " so the tokens to learn cannot be told",
        "use another chat_template.jinja, or mend that message",
    )


@functools.lru_cache(maxsize=64)
def _headers(tokenizer: Tokenizer) -> list[str]:
    """Return what the template writes to invite an answer, longest form first, if nobody can type it.

    An invitation may hold more than every answer begins with, such as an empty block of thoughts, so
    what it has in common with answers, plain and thoughtful, is a header too.
    """
    question: list[Message] = [{"role": "user", "content": "?"}]
    answers = [{"content": "!"}, {"content": "!", "reasoning_content": "!"}]
    try:
        without, invited = (
            render(tokenizer, question),
            render(tokenizer, question, add_generation_prompt=True),
        )
        given = [render(tokenizer, [*question, {"role": "assistant", **answer}]) for answer in answers]
    except UserError:
        return []
    forms = {invited, *(os.path.commonprefix([invited, text]) for text in given)}
    control = control_of(tokenizer).typed
    headers = [form[len(without) :] for form in forms if form.startswith(without)]
    return sorted((header for header in headers if control.search(header)), key=len, reverse=True)


def answers(
    tokenizer: Tokenizer, messages: Sequence[Message], raw: str
) -> Iterator[tuple[int, int, int, int]]:
    """Yield (message, start, end, stop) in `raw` for everything the assistant says."""
    begins: dict[int, int] = {}
    ends: dict[int, int] = {}
    for mark in MARK.finditer(raw):
        if mark[1] == "b":
            begins[int(mark[2])] = mark.start()
        else:
            ends[int(mark[2])] = mark.end()
    limits = [len(raw)] * len(messages)  # where the words of a later message begin
    for number in range(len(messages) - 1, 0, -1):
        limits[number - 1] = min(limits[number], begins.get(number, len(raw)))
    headers = _headers(tokenizer)
    done = 0
    for number, message in enumerate(messages):
        if message["role"] != "assistant":
            done = ends.get(number, done)
            continue
        said = begins.get(number)
        start = _after_header(raw, headers, done, said)
        if start is None:
            raise _altered(tokenizer, number)
        tail = ends[number] if said is not None else start
        end, done = _turn_ends(tokenizer, raw, tail, limits[number])
        yield number, start, end, done


def _after_header(raw: str, headers: list[str], done: int, said: int | None) -> int | None:
    """Return where the assistant begins: after its header, or else where its words begin."""
    if not headers:
        return said
    at = raw.find(headers[-1], done) if said is None else raw.rfind(headers[-1], done, said)
    return said if at < 0 else at + next(len(header) for header in headers if raw.startswith(header, at))


def _turn_ends(tokenizer: Tokenizer, raw: str, tail: int, limit: int) -> tuple[int, int]:
    """Return where the token that ends a turn lies: the end token, or else the first control token."""
    ending = _ending(tokenizer)
    at = raw.find(ending, tail, limit) if ending else -1
    if ending and at >= 0:
        return at, at + len(ending)
    match = control_of(tokenizer).typed.search(raw, tail, limit)
    return match.span() if match else (tail, tail)


@functools.lru_cache(maxsize=64)
def _ending(tokenizer: Tokenizer) -> str | None:
    return next((text for text, token in tokenizer.control.items() if token["id"] == tokenizer.eos_id), None)


def translate(places: list[tuple[int, int]], position: int) -> int:
    """Return where a position of the marked rendering lies in the text."""
    raw, text = places[bisect.bisect_right(places, (position, len(places) + position)) - 1]
    return text + position - raw


@functools.lru_cache(maxsize=64)
def control_of(tokenizer: Tokenizer) -> Control:
    """Return the patterns of a tokenizer's control tokens."""
    return Control(tuple(tokenizer.control))
