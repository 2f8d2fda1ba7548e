"""`danlu eval tools --mode interactive`: talk to a model in the terminal and see what it calls.

    you> How is the weather in Paris?
      -> get_weather({"city": "Paris"})
      <- {"city": "Paris", "weather": "cloudy", ...}
    It is cloudy in Paris.

Every call is run once, and what is shown is what the model is told. Calls and results stay in the
history, as they do for the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from danlu.base import log
from danlu.base.errors import UserError, nearest
from danlu.chat_session import Leave, attend, lines
from danlu.evaluate.tools.boxes import toolboxes
from danlu.evaluate.tools.play import Model
from danlu.evaluate.tools.talk import Messages, answer
from danlu.tools.run import Runs

WORDS = {
    "en": {
        "hello": "Talking to {name}, which may call {tools}. /clear empties the history,"
        " /tools shows the tools, quit leaves.",
        "you": "you> ",
        "again": "Ctrl-C once more leaves.",
        "stopped": "stopped; the question is forgotten",
        "cleared": "history is empty",
        "help": "/clear   forget what was said\n"
        "/tools   show the tools\n"
        "quit     leave (also exit, q, Ctrl-D)",
        "turns": "[{calls} calls, {turns} answers of the model]",
    },
    "zh": {
        "hello": "正在与 {name} 对话，可调用 {tools}。/clear 清空历史，/tools 查看工具，quit 离开。",
        "you": "你> ",
        "again": "再按一次 Ctrl-C 离开。",
        "stopped": "已停止，这个问题不计入历史",
        "cleared": "历史已清空",
        "help": "/clear   忘掉说过的话\n/tools   查看工具\nquit     离开（也可用 exit、q 或 Ctrl-D）",
        "turns": "[{calls} 次调用，模型发言 {turns} 次]",
    },
}
LEAVE = ("quit", "exit", "q")
COMMANDS = ["/clear", "/tools", "/help", "/quit", "/exit"]


def talk_with(model: Model, mcp: Runs | None, toolbox: str, rounds: int, lang: str) -> None:
    """Talk until the user leaves."""
    box = mcp or toolboxes()[toolbox]
    session = Session(model, box, rounds, WORDS[lang])
    try:
        session.run(lines(session.words["you"]))
    finally:
        model.close()


class Session:
    """A model, its tools, what was said, and the terminal."""

    def __init__(self, model: Model, box: Runs, rounds: int, words: dict[str, str]) -> None:
        self.model = model
        self.box = box
        self.rounds = rounds
        self.words = words
        self.tools: list[dict[str, Any]] = box.definitions()
        self.messages: Messages = []

    def run(self, typed: Iterator[str]) -> None:
        """Answer line after line until the user leaves."""
        names = ", ".join(tool["function"]["name"] for tool in self.tools)
        about = self.model.about
        self.hint("hello", name=about.get("model") or about.get("folder"), tools=names)
        attend(typed, lambda: self.hint("again"), self.heed)

    def heed(self, line: str) -> bool:
        """Do what a line asks; return whether Ctrl-C stopped it."""
        line = line.strip()
        if line.removeprefix("/") in LEAVE:
            raise Leave
        if line.startswith("/"):
            self.obey(line)
            return False
        return bool(line) and self.ask(line)

    def ask(self, text: str) -> bool:
        """Show what the model calls and what it answers; return whether Ctrl-C stopped it."""
        messages = [*map(dict, self.messages), {"role": "user", "content": text}]
        steps = answer(messages, self.tools, self.call, self.rounds)
        try:
            ask = next(steps)
            while True:
                ask = steps.send(self.model.ask(ask))
        except StopIteration as stop:
            exchange = stop.value
        except KeyboardInterrupt:
            self.model.close()
            self.hint("stopped")
            return True
        self.messages = messages
        click.echo(exchange.answer)
        self.hint("turns", calls=len(exchange.calls), turns=exchange.turns)
        return False

    def call(self, name: str, arguments: str) -> str:
        """Run a tool and show it."""
        click.echo(f"  -> {name}({arguments})")
        result = self.box.call(name, arguments)
        click.echo(f"  <- {result}")
        return result

    def obey(self, line: str) -> None:
        """Do what a /command says."""
        if line == "/clear":
            self.messages = []
            self.hint("cleared")
        elif line == "/tools":
            for tool in self.tools:
                inner = tool["function"]
                takes = ", ".join(inner.get("parameters", {}).get("properties", {}))
                click.echo(f"  {inner['name']}({takes})  {inner.get('description', '')}".rstrip())
        elif line == "/help":
            self.hint("help")
        else:
            raise UserError(f"there is no command '{line}' here", nearest(line, COMMANDS))

    def hint(self, word: str, **values: Any) -> None:
        """Say something that is no answer."""
        text = self.words[word].format(**values) if values else self.words[word]
        click.secho(text, dim=True, err=True, color=log.attended())
