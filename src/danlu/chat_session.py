"""One session of `danlu chat`: what is typed, what is answered, and how both look."""

from __future__ import annotations

import contextlib
import importlib
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

import click

from danlu.base import config, interrupts
from danlu.base.errors import UserError, nearest
from danlu.generate import engine
from danlu.generate.conversation import Conversation
from danlu.generate.prompt import raw_prompt
from danlu.generate.settings import Sampling, checked
from danlu.model.decoder import Decoder
from danlu.tokenizer.tokenizer import Tokenizer

INTERRUPT = "\x03"
"""What `lines` yields for a Ctrl-C."""

WORDS = {
    "en": {
        "chat": "Talking to {name}. Empty the history with /clear, leave with /exit; /help shows the rest.",
        "raw": "{name} is pretrained only: it continues your text. Leave with /exit; /help shows the rest.",
        "you": "you> ",
        "speed": "[{tokens} tokens, {rate:.1f} tokens/s, first after {first:.2f} s{end}]",
        "length": "; cut at {tokens} tokens, --max-tokens allows more",
        "stopped": "; stopped",
        "again": "Ctrl-C once more leaves; /help shows the commands.",
        "cleared": "history is empty",
        "set": "{key} = {value}",
        "nothing": "nothing was asked yet",
        "help": "/clear            forget what was said\n"
        "/retry            answer the last question again\n"
        "/system TEXT      set the system message; without text: none\n"
        "/think on|off     ask for thinking, or for none\n"
        "/set KEY=VALUE    for instance temperature=0.7 or max_tokens=200\n"
        "/exit             leave (also /quit, Ctrl-D)\n"
        "A line that ends in \\ goes on in the next one; //text says /text.",
    },
    "zh": {
        "chat": "正在与 {name} 对话。/clear 清空历史，/exit 离开，/help 查看其余命令。",
        "raw": "{name} 是预训练模型，只会续写你的文字。/exit 离开，/help 查看其余命令。",
        "you": "你> ",
        "speed": "[{tokens} 个 token，{rate:.1f} token/s，首个用时 {first:.2f} 秒{end}]",
        "length": "；到 {tokens} 个 token 截断，可用 --max-tokens 放宽",
        "stopped": "；已停止",
        "again": "再按一次 Ctrl-C 离开；/help 查看命令。",
        "cleared": "历史已清空",
        "set": "{key} = {value}",
        "nothing": "还没有提过问题",
        "help": "/clear            忘掉说过的话\n"
        "/retry            重新回答上一个问题\n"
        "/system 文字      设定系统消息；不带文字则取消\n"
        "/think on|off     要求思考，或不思考\n"
        "/set 键=值        例如 temperature=0.7 或 max_tokens=200\n"
        "/exit             离开（也可用 /quit 或 Ctrl-D）\n"
        "以 \\ 结尾的行会接到下一行；//文字 表示以 / 开头的文字。",
    },
}


class Session:
    """A model, what was said to it, and the terminal."""

    def __init__(
        self,
        model: Decoder,
        tokenizer: Tokenizer,
        talk: Conversation | None,
        sampling: Sampling,
        words: dict[str, str],
        color: bool,
        ends: Collection[int] | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.talk = talk
        """None: the text is continued as it stands."""
        self.sampling = sampling
        self.words = words
        self.color = color
        self.ends = ends
        self.answers = 0
        self.last = ""

    def run(self, typed: Iterator[str]) -> None:
        """Answer line after line until the user leaves."""
        attend(typed, lambda: self.hint("again"), self.heed)

    def heed(self, line: str) -> bool:
        """Do what a line asks; return whether Ctrl-C stopped it."""
        if line.startswith("/") and not line.startswith("//"):
            if self.obey(*line[1:].split(maxsplit=1)):
                raise Leave
            return False
        return bool(line.strip()) and self.answer(line.removeprefix("/") if line.startswith("//") else line)

    def answer(self, text: str) -> bool:
        """Stream the answer to `text`; return whether Ctrl-C stopped it."""
        self.last = text
        prompt = self.talk.ask(text) if self.talk else raw_prompt(self.tokenizer, text)
        painter = Painter(self.color)
        clock = Clock()
        answer, finish = "", "stopped"
        with contextlib.suppress(KeyboardInterrupt):
            for event in engine.generate(
                self.model, self.tokenizer, [prompt], self._sampling(), ends=self.ends
            ):
                clock.tick()
                answer += event.text
                painter.show(event.text)
                finish = event.finish or finish
        painter.done(newline=not answer.endswith("\n"))
        self.answers += 1
        if self.talk:
            self.talk.answered(answer)
        end = self.words.get(finish, "").format(tokens=clock.tokens)
        self.hint("speed", tokens=clock.tokens, rate=clock.rate, first=clock.first, end=end)
        return finish == "stopped"

    def obey(self, name: str = "help", rest: str = "") -> bool:
        """Do what a /command says; return whether it was to leave."""
        if name in ("exit", "quit", "q"):
            return True
        if name == "set":
            self._set(rest)
        elif name == "retry":
            self._retry()
        elif name == "help":
            self.hint("help")
        elif name == "clear":
            if self.talk:
                self.talk.forget()
            self.hint("cleared")
        elif name in ("system", "think") and self.talk:
            value = rest if name == "system" else {"on": True, "off": False}.get(rest)
            setattr(self.talk, name, value)
            self.hint("set", key=name, value=rest)
        else:
            raise UserError(f"there is no command '/{name}' here", nearest(f"/{name}", COMMANDS))
        return False

    def hint(self, word: str, **values: Any) -> None:
        """Say something that is no answer."""
        text = self.words[word].format(**values) if values else self.words[word]
        click.secho(text, dim=True, err=True, color=None if self.color else False)

    def _sampling(self) -> Sampling:
        """Return the settings of the next answer: with a seed, every answer still has its own draws."""
        if self.sampling.seed is None or not self.answers:
            return self.sampling
        return self.sampling.model_copy(update={"seed": self.sampling.seed + self.answers})

    def _set(self, word: str) -> None:
        values = config.override(self.sampling.model_dump(), [word])
        self.sampling = checked(values, "/set", "/help, or 'danlu chat --help'")
        self.hint("set", key=word.partition("=")[0], value=word.partition("=")[2])

    def _retry(self) -> None:
        if not self.last:
            return self.hint("nothing")
        if self.talk and self.talk.exchanges:
            self.talk.exchanges.pop()
        self.answer(self.last)


COMMANDS = ["/help", "/clear", "/retry", "/system", "/think", "/set", "/exit", "/quit"]


class Clock:
    """Tokens and the time they took."""

    def __init__(self) -> None:
        self.tokens = 0
        self._began = self._first = self._last = time.perf_counter()

    def tick(self) -> None:
        """Count a token."""
        self._last = time.perf_counter()
        self.tokens += 1
        if self.tokens == 1:
            self._first = self._last

    @property
    def first(self) -> float:
        """Seconds until the first token."""
        return self._first - self._began

    @property
    def rate(self) -> float:
        """Tokens a second after the first; of a single token, from the beginning."""
        if self.tokens > 1:
            return (self.tokens - 1) / max(self._last - self._first, 1e-9)
        return self.tokens / max(self._last - self._began, 1e-9)


class Painter:
    """Writes an answer as it comes, what lies between <think> and </think> dimmed."""

    TAGS = ("<think>", "</think>")

    def __init__(self, color: bool) -> None:
        self.color = color
        self._held = ""

    def show(self, text: str) -> None:
        """Write a piece of the answer at once, but for the beginning of a tag."""
        if not self.color:
            self._write(text)
            return
        text = self._held + text
        keep = max(n for tag in self.TAGS for n in range(len(tag)) if text.endswith(tag[:n]))
        self._held = text[len(text) - keep :]
        text = text[: len(text) - keep]
        self._write(text.replace("<think>", "\033[2m<think>").replace("</think>", "</think>\033[22m"))

    def done(self, newline: bool) -> None:
        """Write what is left and end the line."""
        self._write(self._held + ("\033[0m" if self.color else "") + ("\n" if newline else ""))

    def _write(self, text: str) -> None:
        if text:
            sys.stdout.write(text)
            sys.stdout.flush()


class Leave(Exception):
    """The user has said goodbye."""


def attend(typed: Iterator[str], again: Callable[[], None], heed: Callable[[str], bool]) -> None:
    """Heed line after line until the user leaves, by a command or by Ctrl-C twice; mistakes are told.

    `heed` says whether Ctrl-C stopped it, `again` what one more will do.
    """
    # A shell that starts us in the background leaves Ctrl-C ignored.
    signal.signal(signal.SIGINT, interrupts.handle)
    interrupted = False
    for line in typed:
        if line == INTERRUPT:
            if interrupted:
                return
            again()
            interrupted = True
            continue
        interrupted = False
        try:
            interrupted = heed(line)
        except UserError as error:
            click.secho(str(error), fg="red", err=True)
        except Leave:
            return


def lines(prompt: str) -> Iterator[str]:
    """Yield what the user types, a line ending in a backslash joined with the next; "" after Ctrl-C."""
    if sys.stdin.isatty():
        with contextlib.suppress(ImportError):
            importlib.import_module("readline")  # importing it gives input() its editing keys
    typed = ""
    while True:
        try:
            with interrupts.heeded():
                line = typed_line("... " if typed else prompt)
        except EOFError:
            if typed:
                yield typed
            return
        except KeyboardInterrupt:
            typed = ""
            yield INTERRUPT
            continue
        if line.endswith("\\"):
            typed += line[:-1] + "\n"
            continue
        yield typed + line
        typed = ""


def typed_line(prompt: str) -> str:
    """Return one line from the user, with editing where there is a terminal."""
    if sys.stdin.isatty():
        return input(prompt)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\r\n")
