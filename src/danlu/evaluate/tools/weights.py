"""A model in this process: finished weights, a run or a checkpoint, asked as a server would be.

The prompt is what the chat template makes of the messages, the answer is read by the parsers that
serve.json names, or will name once a run is exported, and a server does both in the same way; so both score
alike. Many talks are answered in one batch, each going on as soon as its own answer is there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from danlu.base.errors import UserError
from danlu.evaluate import load
from danlu.evaluate.tools.settings import Settings
from danlu.evaluate.tools.talk import Ask, Messages, Refused
from danlu.generate.engine import Engine
from danlu.generate.load import ends, served_dtype
from danlu.generate.settings import Sampling
from danlu.tokenizer.chat import encode_chat
from danlu.tools.formats import format_of
from danlu.tools.parse import Message, parse
from danlu.tools.run import read


class Weights:
    """Asks a model here; see the module."""

    def __init__(
        self,
        folder: str | Path,
        settings: Settings,
        together: int = 32,
        device: str = "auto",
        dtype: str = "auto",
    ) -> None:
        self.folder = Path(folder)
        self.settings = settings
        self.together = together
        model, self._words = load.load_model(folder, device, served_dtype(self.folder, dtype, device))
        model.eval()
        told = load.profile_of(self.folder, model, self._words)
        self._tools, self._thoughts = told.tool_parser, told.reasoning_parser
        if self._tools is None:
            raise UserError(
                f"{folder}: its chat template writes no calls", "choose a model whose template knows tools"
            )
        finish = {*ends(self.folder, self._words), *told.stop_token_ids}
        self._engine = Engine(model, self._words, together, told.max_model_len, finish)
        self._asked: dict[int, tuple[Ask, bool]] = {}
        self._texts: dict[int, str] = {}
        self._refused: list[tuple[int, Message | Refused]] = []
        self._sampling = Sampling(**settings.as_body())

    @property
    def about(self) -> dict[str, Any]:
        """Who answers."""
        return {"folder": str(self.folder), "tool_parser": self._tools, "reasoning_parser": self._thoughts}

    def begin(self, number: int, ask: Ask) -> None:
        """Queue a question."""
        try:
            chat = encode_chat(self._words, as_template(ask.messages), ask.tools, add_generation_prompt=True)
            shown = self._hidden(ask)
            self._engine.add(number, chat.ids, self._sampling, show_control=shown)
        except UserError as error:
            self._refused.append((number, Refused(error.problem, error.hint)))
            return
        self._asked[number] = (ask, chat.text.rstrip().endswith("<think>"))
        self._texts[number] = ""

    def finished(self) -> list[tuple[int, Message | Refused]]:
        """Compute until an answer is complete, and return those that are."""
        found, self._refused = self._refused, []
        while not found and self._engine.busy:
            for event in self._engine.step():
                self._texts[event.index] += event.text
                if event.finish:
                    found.append((event.index, self._message(event.index)))
        return found

    def close(self) -> None:
        """Forget what was asked."""
        for number in self._asked:
            self._engine.cancel(number)
        self._asked.clear()

    def ask(self, ask: Ask) -> Message:
        """Return the answer to one question."""
        self.begin(0, ask)
        ((_, said),) = self.finished()
        if isinstance(said, Refused):
            raise said
        return said

    def _hidden(self, ask: Ask) -> bool:
        """Say whether marks of calls or thoughts are control tokens, which are not shown unless asked for."""
        form = format_of(self._tools) if self._tools and ask.tools else None
        marks = [*form.opens, *form.first] if form else []
        marks += ["<think>", "</think>"] if self._thoughts else []
        return any(mark in self._words.control for mark in marks)

    def _message(self, number: int) -> Message:
        ask, thinking = self._asked.pop(number)
        text = self._texts.pop(number)
        form = self._tools if ask.tools else None
        return parse(text, form, self._thoughts, thinking=thinking, tools=ask.tools or ())


def as_template(messages: Messages) -> Messages:
    """Return messages as templates want them, with arguments as objects; what is none is an empty one."""
    return [
        {**message, "tool_calls": [_parsed(call) for call in message["tool_calls"]]}
        if "tool_calls" in message
        else message
        for message in messages
    ]


def _parsed(call: dict[str, Any]) -> dict[str, Any]:
    given = read(call["function"]["arguments"])
    inner = {**call["function"], "arguments": {} if isinstance(given, str) else given}
    return {**call, "function": inner}
