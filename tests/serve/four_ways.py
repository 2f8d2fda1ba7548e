"""The same questions asked four ways: of the model as training builds and reads it, of the engine as
`danlu chat` does, and over HTTP of the built-in server and of vLLM.

Answers are compared as token ids. Where they part, `gap` tells how far the two likeliest words were apart.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from danlu.data.records import Dialogue
from danlu.data.shapes import recognise
from danlu.device import api
from danlu.generate.engine import complete
from danlu.generate.load import ends, load_model
from danlu.generate.settings import Sampling
from danlu.model import weights
from danlu.model.build import build_empty
from danlu.model.decoder import Decoder
from danlu.tokenizer.chat import encode_chat
from danlu.tokenizer.tokenizer import Tokenizer
from serve.plain import asked

MOST = 40
"""Tokens of an answer."""
TOGETHER = 16
THINKING = (None, True, False)

Row = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """One conversation up to the assistant's turn, as a client sends it."""

    messages: list[Row]
    tools: list[Row] | None
    thinking: bool | None

    @property
    def body(self) -> Row:
        """Return what of it stands in a request."""
        told: Row = {"messages": self.messages}
        if self.tools:
            told["tools"] = self.tools
        if self.thinking is not None:
            told["chat_template_kwargs"] = {"enable_thinking": self.thinking}
        return told


def conversations(tools: Sequence[Row], thoughts: Sequence[Row], count: int, seed: int = 0) -> list[Asked]:
    """Return conversations: in turns about tools, at any turn of theirs, and of thoughts, after another."""
    dice = random.Random(seed)
    made = []
    for number in range(count):
        thinking = THINKING[number // 2 % len(THINKING)]
        if number % 2:
            before, row = (_dialogue(row).messages for row in dice.sample(thoughts, 2))
            made.append(Asked([*_thought(before), row[0]], None, thinking))
            continue
        chat = _dialogue(dice.choice(tools))
        turns = [place for place, message in enumerate(chat.messages) if message["role"] == "assistant"]
        history = [_sent(message, place) for place, message in enumerate(chat.messages[: dice.choice(turns)])]
        wrapped = [{"type": "function", "function": tool.get("function", tool)} for tool in chat.tools or []]
        made.append(Asked(history, wrapped, thinking))
    return made


def _dialogue(row: Row) -> Dialogue:
    record = recognise(row, "chat")[1]
    assert isinstance(record, Dialogue)
    return record


def _thought(messages: Sequence[Row]) -> list[Row]:
    """Return an exchange with the assistant's thoughts apart from what it says, as servers tell them."""
    question, answer = messages[0], messages[1]["content"]
    thoughts, _, said = answer.removeprefix("<think>\n").partition("\n</think>\n")
    return [question, {"role": "assistant", "content": said, "reasoning_content": thoughts}]


def _sent(message: Row, place: int) -> Row:
    """Return a message as OpenAI's clients send it: calls with ids, arguments as JSON text."""
    if message["role"] == "tool":
        return {"role": "tool", "tool_call_id": f"call_{place}", "content": message["content"]}
    if not message.get("tool_calls"):
        return dict(message)
    calls = []
    for number, call in enumerate(message["tool_calls"]):
        function = call.get("function", call)
        arguments = function["arguments"]
        text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        function = {"name": function["name"], "arguments": text}
        calls.append({"id": f"call_{place + 1 + number}", "type": "function", "function": function})
    return {"role": "assistant", "content": message.get("content") or "", "tool_calls": calls}


# The trainer's way


def trained(folder: Path, device: str) -> tuple[Decoder, Tokenizer]:
    """Return the model as training builds it: float32 weights, none of them packed for answering."""
    model = build_empty(weights.read_config(folder), api.choose(device).torch)
    weights.load(folder, model)
    return model.eval(), Tokenizer.load(folder)


def prompts(tokenizer: Tokenizer, conversations: Sequence[Asked]) -> list[list[int]]:
    """Return what training would read of each conversation, up to where the answer begins."""
    return [
        encode_chat(
            tokenizer, each.messages, each.tools, add_generation_prompt=True, enable_thinking=each.thinking
        ).ids
        for each in conversations
    ]


def own(model: Decoder, prompt: Sequence[int], guess: Sequence[int], last: set[int], dtype: str) -> list[int]:
    """Return the answer each of whose tokens is the likeliest after those before it.

    The whole is read at once, as training reads it. `guess` only saves time: where it is wrong, it is mended.
    """
    said = list(guess)
    while True:
        best = likeliest(model, [*prompt, *said], dtype)[len(prompt) - 1 :]
        wrong = next((place for place, token in enumerate(said) if token != best[place]), len(said))
        if wrong == len(said) and (wrong == MOST or said[-1:] and said[-1] in last):
            return said
        said = [*said[:wrong], best[wrong]]


def likeliest(model: Decoder, tokens: Sequence[int], dtype: str) -> list[int]:
    """Return what is likeliest after each of these tokens."""
    return [int(token) for token in scores(model, tokens, dtype).argmax(-1)]


@torch.no_grad()
def scores(model: Decoder, tokens: Sequence[int], dtype: str) -> torch.Tensor:
    """Return the logits after each of these tokens, as a training step computes them."""
    device = model.head_weight.device
    with api.choose(device.type).autocast(getattr(torch, dtype)):
        return model.logits(model(torch.tensor([tokens], device=device)).hidden[0]).float()


@torch.no_grad()
def gap(model: Decoder, tokens: Sequence[int], dtype: str) -> float:
    """Return how far the two likeliest next tokens are apart, before their scores are rounded to `dtype`.

    From 8 on, neighbours in bfloat16 are 0.0625 apart: rounded, any two would part at 0 or that.
    """
    number, device = getattr(torch, dtype), model.head_weight.device
    with api.choose(device.type).autocast(number):
        hidden_C = model(torch.tensor([tokens], device=device)).hidden[0, -1]
    best = (model.head_weight.to(number).double() @ hidden_C.double()).topk(2).values
    return float(best[0] - best[1])


# The other three


def chatted(
    folder: Path, asked_ids: Sequence[Sequence[int]], dtype: str, together: bool, device: str
) -> list[list[int]]:
    """Return the engine's answers, each alone or all of them in one batch."""
    model, tokenizer = load_model(folder, device, dtype)
    sampling, last = Sampling(temperature=0.0, max_tokens=MOST), ends(folder, tokenizer)
    groups = [list(asked_ids)] if together else [[ids] for ids in asked_ids]
    return [
        answer.tokens
        for group in groups
        for answer in complete(model, tokenizer, group, sampling, slots=TOGETHER, ends=last)
    ]


class Said(NamedTuple):
    """A server's answers, and the prompts as it read them."""

    answers: list[list[int]]
    prompts: list[list[int]]


def served(url: str, model: str, conversations: Sequence[Asked], together: bool) -> Said:
    """Return what a server says, asked one after the other or many at once."""

    def ask(each: Asked) -> tuple[list[int], list[int]]:
        body = {"model": model, "temperature": 0, "max_tokens": MOST, "return_token_ids": True, **each.body}
        status, told, _ = asked(f"{url}/v1/chat/completions", body)
        assert status == 200, told
        return list(told["choices"][0]["token_ids"]), list(told["prompt_token_ids"])

    with ThreadPoolExecutor(TOGETHER if together else 1) as pool:
        pairs = list(pool.map(ask, conversations))
    return Said([answer for answer, _ in pairs], [prompt for _, prompt in pairs])


def rendered(url: str, model: str, each: Asked) -> list[int]:
    """Return a prompt's ids as a server's /tokenize tells them."""
    body = {"model": model, "add_generation_prompt": True, **each.body}
    status, told, _ = asked(f"{url}/tokenize", body)
    assert status == 200, told
    return list(told["tokens"])


def parted(one: Sequence[int], other: Sequence[int]) -> int | None:
    """Return the first place where two answers differ, None where they do not."""
    if list(one) == list(other):
        return None
    pairs = enumerate(zip(one, other))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))
