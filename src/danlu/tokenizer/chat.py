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
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tokenizers

from danlu.tokenizer.marks import Piece, everywhere, pieces
from danlu.tokenizer.spans import Span, Tools, answers, control_of, marked_rendering, render, translate
from danlu.tokenizer.template import Message
from danlu.tokenizer.tokenizer import Tokenizer

__all__ = ["Chat", "Span", "encode_chat", "encode_chats", "render", "weigh"]


Run = tuple[Piece, "tokenizers.Encoding | None"]
"""A piece of a chat with its encoding; a control token has none."""


@dataclass
class Chat:
    """One chat, encoded."""

    text: str
    """What the template rendered."""
    spans: list[Span]
    """What is learned, in characters."""
    ids: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    """How much each token counts in a loss: 0 for what is only read, else the message's weight, usually 1."""
    runs: list[Run] = field(default_factory=list, compare=False, repr=False)
    """What the ids were made from."""

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """Where each token's characters lie in `text`. Made when asked for: few need it."""
        found: list[tuple[int, int]] = []
        for piece, encoding in self.runs:
            inside = [(0, len(piece.text))] if encoding is None else encoding.offsets
            found += [(piece.start + begin, piece.start + end) for begin, end in inside]
        return found

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
    variables: Mapping[str, Any] | None = None,
) -> Chat:
    """Return one chat as tokens. With a generation prompt it is a question: nothing in it is learned.

    A message may carry `loss_mask` (0: not learned) or `loss_weight`; every assistant's turn counts 1
    unless it says otherwise. `variables` are more that the template may ask for.
    """
    chats = [(messages, tools)]
    return next(encode_chats(tokenizer, chats, add_generation_prompt, enable_thinking, variables))


def encode_chats(
    tokenizer: Tokenizer,
    chats: Sequence[tuple[Sequence[Message], Tools | None]],
    add_generation_prompt: bool = False,
    enable_thinking: bool | None = None,
    variables: Mapping[str, Any] | None = None,
) -> Iterator[Chat]:
    """Yield many chats as tokens. Their text is encoded together on all cores, what recurs in it once."""
    plans = [
        _plan(tokenizer, messages, tools, add_generation_prompt, enable_thinking, variables)
        for messages, tools in chats
    ]
    runs = [_trimmed(tokenizer, parts) for _, parts in plans]
    wanted = {(piece.text, piece.start == 0): 0 for run in runs for piece in run if piece.control is None}
    texts, starts = [text for text, _ in wanted], [start for _, start in wanted]
    encodings = dict(zip(wanted, ((each, each.ids) for each in tokenizer.encode_pieces(texts, starts))))
    for (chat, _), run in zip(plans, runs):
        for piece in run:
            if piece.control is not None:
                chat.ids.append(tokenizer.control[piece.control]["id"])
                chat.weights += weigh([(piece.start, piece.start + len(piece.text))], chat.spans)
                chat.runs.append((piece, None))
            else:
                encoding, ids = encodings[piece.text, piece.start == 0]
                chat.ids += ids
                chat.weights += _weights(piece, encoding, len(ids), chat.spans)
                chat.runs.append((piece, encoding))
        yield chat


def _weights(piece: Piece, encoding: tokenizers.Encoding, count: int, spans: Sequence[Span]) -> list[float]:
    """Return what `weigh` would for the tokens of a piece, looking only where spans begin and end."""

    def begins(token: int) -> int:
        place = encoding.token_to_chars(token)
        assert place
        return int(place[0])

    def ends(token: int) -> int:
        place = encoding.token_to_chars(token)
        assert place
        return max(int(place[1]), int(place[0]) + 1)

    weights = [0.0] * count
    stop = piece.start + len(piece.text)
    for span in spans:
        if span.start <= stop and span.stop > piece.start:
            first = bisect.bisect_right(range(count), span.start - piece.start, key=ends)
            last = bisect.bisect_left(range(count), span.stop - piece.start, lo=first, key=begins)
            weights[first:last] = [span.weight] * (last - first)
    return weights


def weigh(offsets: Sequence[tuple[int, int]], spans: Sequence[Span]) -> list[float]:
    """Return each token's weight: that of the span it has a character of, else 0. Both are in order.

    >>> weigh([(0, 2), (2, 3), (3, 6)], [Span(1, 2, 4, 4, 1.0)])
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


def _plan(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    tools: Tools | None,
    prompt: bool,
    thinking: bool | None,
    variables: Mapping[str, Any] | None = None,
) -> tuple[Chat, list[Piece]]:
    """Return a chat with its text and spans, and the pieces its ids will come from."""
    control = control_of(tokenizer)
    safe = list(messages)
    if variables:
        variables = everywhere(control.disguise, variables)
    if not control.nowhere([safe, tools]):
        safe = everywhere(control.disguise, safe)
        tools = everywhere(control.disguise, list(tools)) if tools else None
        for message, given in zip(safe, messages):
            message["role"] = given["role"]
    if prompt or not any(message["role"] == "assistant" for message in messages):
        parts, _ = pieces(render(tokenizer, safe, tools, prompt, thinking, variables), control)
        return Chat("".join(piece.text for piece in parts), []), parts
    raw = marked_rendering(tokenizer, safe, tools, thinking, variables=variables)
    parts, places = pieces(raw, control)
    chat = Chat("".join(piece.text for piece in parts), [])
    for number, *positions in answers(tokenizer, messages, raw):
        start, end, stop = (translate(places, position) for position in positions)
        chat.spans.append(Span(number, start, end, stop, _weight(messages[number])))
    return chat, parts


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
