"""A chat as the tokens a model reads, and which of them it should learn to write.

    <|im_start|>user\\n1+1?<|im_end|>\\n<|im_start|>assistant\\n2<|im_end|>\\n
                                                           ^^^^^^^^^^^ learned

Learned are the assistant's spans: from the end of its header (what the template writes to invite an
answer) through the token that ends its turn. They are found for any template by unique marks around
what each message says (see marks.py), never by looking for a header in text a user could have
written. The rendering is split only at control tokens that the template itself wrote, and each piece
is encoded as plain text: a typed `<|im_end|>` stays text, and all other ids are those any server gets.

Not everything can be told for every template: one that alters what is said (upper case, cutting
inside) is refused with the number of the message.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from danlu.base.errors import UserError
from danlu.tokenizer import template
from danlu.tokenizer.marks import MARK, Control, Piece, everywhere, marked, pieces
from danlu.tokenizer.template import Message
from danlu.tokenizer.tokenizer import Tokenizer

ROLES = ("system", "user", "assistant", "tool")
Tools = Sequence[Mapping[str, Any]]


class Span(NamedTuple):
    """Characters [start, stop) of the rendered text that message number `message` teaches."""

    message: int
    start: int
    stop: int
    weight: float


@dataclass
class Chat:
    """One chat, encoded."""

    text: str
    """What the template rendered."""
    spans: list[Span]
    """What is learned, in characters."""
    ids: list[int] = field(default_factory=list)
    offsets: list[tuple[int, int]] = field(default_factory=list)
    """Where each token's characters lie in `text`."""
    weights: list[float] = field(default_factory=list)
    """How much each token counts in a loss: 0 for what is read only, else the message's `loss_weight`, 1 by default."""

    @property
    def mask(self) -> list[bool]:
        """Which tokens are learned."""
        return [weight > 0 for weight in self.weights]


def encode_chat(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    tools: Tools | None = None,
    add_generation_prompt: bool = False,
    enable_thinking: bool | None = None,
) -> Chat:
    """Return one chat as tokens. With a generation prompt it is a question: nothing in it is learned.

    A message may carry `loss_mask` (0: not learned) or `loss_weight`; every assistant's turn counts 1
    unless it says otherwise.
    """
    return next(encode_chats(tokenizer, [(messages, tools)], add_generation_prompt, enable_thinking))


def encode_chats(
    tokenizer: Tokenizer,
    chats: Sequence[tuple[Sequence[Message], Tools | None]],
    add_generation_prompt: bool = False,
    enable_thinking: bool | None = None,
) -> Iterator[Chat]:
    """Yield many chats as tokens, their text encoded together on all cores."""
    plans = [_plan(tokenizer, messages, tools, add_generation_prompt, enable_thinking) for messages, tools in chats]
    runs = [_trimmed(tokenizer, parts) for _, parts in plans]
    texts = [piece.text for run in runs for piece in run if piece.control is None]
    starts = [piece.start == 0 for run in runs for piece in run if piece.control is None]
    encodings = iter(tokenizer.encode_pieces(texts, starts))
    for (chat, _), run in zip(plans, runs):
        for piece in run:
            if piece.control is not None:
                chat.ids.append(tokenizer.control[piece.control]["id"])
                chat.offsets.append((piece.start, piece.start + len(piece.text)))
            else:
                encoding = next(encodings)
                chat.ids += encoding.ids
                chat.offsets += [(piece.start + begin, piece.start + end) for begin, end in encoding.offsets]
        chat.weights = weigh(chat.offsets, chat.spans)
        yield chat


def render(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    tools: Tools | None = None,
    add_generation_prompt: bool = False,
    enable_thinking: bool | None = None,
) -> str:
    """Return the text of a chat as its template writes it."""
    return template.render(
        _template(tokenizer), messages, tools, add_generation_prompt, enable_thinking, tokenizer.variables
    )


def weigh(offsets: Sequence[tuple[int, int]], spans: Sequence[Span]) -> list[float]:
    """Return each token's weight: that of the span it has a character of, else 0. Both are in order.

    >>> weigh([(0, 2), (2, 3), (3, 6)], [Span(1, 2, 4, 1.0)])
    [0.0, 1.0, 1.0]
    """
    weights = [0.0] * len(offsets)
    at = 0
    for span in spans:
        while at < len(offsets) and max(offsets[at][1], offsets[at][0] + 1) <= span.start:
            at += 1
        while at < len(offsets) and offsets[at][0] < span.stop:
            weights[at] = span.weight
            at += 1
    return weights


@functools.lru_cache(maxsize=16)
def _control(tokens: tuple[str, ...]) -> Control:
    return Control(tokens)


def _template(tokenizer: Tokenizer) -> str:
    if tokenizer.template is None:
        raise UserError(f"{tokenizer.name}: has no chat template", "put a chat_template.jinja beside its tokenizer.json")
    return tokenizer.template


def _plan(
    tokenizer: Tokenizer, messages: Sequence[Message], tools: Tools | None, prompt: bool, thinking: bool | None
) -> tuple[Chat, list[Piece]]:
    """Return a chat with its text and spans, and the pieces its ids will come from."""
    control = _control(tuple(tokenizer.control))
    safe = everywhere(control.disguise, list(messages))
    tools = everywhere(control.disguise, list(tools)) if tools else None
    for message, given in zip(safe, messages):
        message["role"] = given["role"]
    plain = render(tokenizer, safe, tools, prompt, thinking)
    if prompt or not any(message["role"] == "assistant" for message in messages):
        parts, _ = pieces(plain, control)
        return Chat("".join(piece.text for piece in parts), []), parts
    raw = _marked_rendering(tokenizer, safe, tools, thinking, plain)
    parts, places = pieces(raw, control)
    chat = Chat("".join(piece.text for piece in parts), [])
    for number, start, stop in _answers(tokenizer, messages, raw):
        chat.spans.append(Span(number, _translate(places, start), _translate(places, stop), _weight(messages[number])))
    return chat, parts


def _marked_rendering(
    tokenizer: Tokenizer, safe: list[Message], tools: Tools | None, thinking: bool | None, plain: str
) -> str:
    """Return the rendering with marks, proved to differ from the one without by the marks alone.

    Some templates look at how a user's text begins; then only the assistant's words are marked.
    """
    for roles in (ROLES, ("assistant",)):
        with_marks = marked(safe, roles)
        raw = render(tokenizer, with_marks, tools, False, thinking)
        if MARK.sub("", raw) == plain:
            wanted = [n for n, (a, b) in enumerate(zip(with_marks, safe)) if a is not b and a["role"] == "assistant"]
            found = [(m[1], int(m[2])) for m in MARK.finditer(raw) if safe[int(m[2])]["role"] == "assistant"]
            missing = next((n for n in wanted if found.count(("b", n)) != 1 or found.count(("e", n)) != 1), None)
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
        without, invited = render(tokenizer, question), render(tokenizer, question, add_generation_prompt=True)
        given = [render(tokenizer, [*question, {"role": "assistant", **answer}]) for answer in answers]
    except UserError:
        return []
    forms = {invited, *(os.path.commonprefix([invited, text]) for text in given)}
    control = _control(tuple(tokenizer.control)).typed
    headers = [form[len(without) :] for form in forms if form.startswith(without)]
    return sorted((header for header in headers if control.search(header)), key=len, reverse=True)


def _answers(tokenizer: Tokenizer, messages: Sequence[Message], raw: str) -> Iterator[tuple[int, int, int]]:
    """Yield (message, start, stop) in `raw` for everything the assistant says."""
    begins = {int(m[2]): m for m in MARK.finditer(raw) if m[1] == "b"}
    ends = {int(m[2]): m for m in MARK.finditer(raw) if m[1] == "e"}
    headers = _headers(tokenizer)
    done = 0
    for number, message in enumerate(messages):
        if message["role"] != "assistant":
            done = ends[number].end() if number in ends else done
            continue
        said = begins[number].start() if number in begins else None
        start = _after_header(raw, headers, done, said)
        if start is None:
            raise _altered(tokenizer, number)
        tail = ends[number].end() if said is not None else start
        limit = min((m.start() for n, m in begins.items() if n > number), default=len(raw))
        done = _turn_ends(tokenizer, raw, tail, limit)
        yield number, start, done


def _after_header(raw: str, headers: list[str], done: int, said: int | None) -> int | None:
    """Return where the assistant begins: after its header, or else where its words begin."""
    if not headers:
        return said
    at = raw.find(headers[-1], done) if said is None else raw.rfind(headers[-1], done, said)
    return said if at < 0 else at + next(len(header) for header in headers if raw.startswith(header, at))


def _turn_ends(tokenizer: Tokenizer, raw: str, tail: int, limit: int) -> int:
    """Return where a turn ends: after the end token, or the first control token, before the next message speaks."""
    end = next((text for text, token in tokenizer.control.items() if token["id"] == tokenizer.eos_id), None)
    at = raw.find(end, tail, limit) if end else -1
    if end and at >= 0:
        return at + len(end)
    match = _control(tuple(tokenizer.control)).typed.search(raw, tail, limit)
    return match.end() if match else tail


def _translate(places: list[tuple[int, int]], position: int) -> int:
    """Return where a position of the marked rendering lies in the text."""
    raw, text = places[bisect.bisect_right(places, (position, len(places) + position)) - 1]
    return text + position - raw


def _weight(message: Message) -> float:
    weight = message.get("loss_weight")
    return float(message.get("loss_mask", 1)) if weight is None else float(weight)


def _trimmed(tokenizer: Tokenizer, parts: list[Piece]) -> list[Piece]:
    """Return pieces without the white space that a control token swallows (its lstrip and rstrip)."""
    greedy = any(token["lstrip"] or token["rstrip"] for token in tokenizer.control.values())
    if not greedy:
        return parts
    out = list(parts)
    for before, after in itertools.pairwise(range(len(parts))):
        left, right = out[before], out[after]
        if left.control and tokenizer.control[left.control]["rstrip"] and right.control is None:
            kept = right.text.lstrip()
            out[after] = Piece(kept, right.start + len(right.text) - len(kept), None)
        if right.control and tokenizer.control[right.control]["lstrip"] and left.control is None:
            out[before] = left._replace(text=left.text.rstrip())
    return [piece for piece in out if piece.text]
