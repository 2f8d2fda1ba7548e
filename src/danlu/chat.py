"""`danlu chat`: talk to finished weights in the terminal, or answer `--prompt` and leave.

Answers go to standard output; everything else (speed, hints, errors) goes to standard error, so that

    danlu chat out/full_sft_512 < questions.txt > answers.txt

holds nothing but answers. Weights of the pretraining stage are continued, not chatted with: they
have never seen a template.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import click

from danlu.base import config
from danlu.generate.settings import OF_PROGRAMS, Sampling, checked

DEFAULTS: dict[str, Any] = {"temperature": 0.85, "top_p": 0.85, "max_tokens": 1024}


def sampling_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add an option for every field of `Sampling` a person may want, its help being the field's own."""
    for field in reversed([field for field in config.fields(Sampling) if field.key not in OF_PROGRAMS]):
        default = DEFAULTS.get(field.key, field.default)
        many = field.key == "stop"
        kind: Any = float if field.type.startswith("float") else int if field.type.startswith("int") else str
        function = click.option(
            f"--{field.key.replace('_', '-')}",
            field.key,
            type=kind,
            multiple=many,
            metavar="TEXT" if many else "NUMBER",
            help=f"{field.help} {'Repeatable.' if many else f'[{default}]' if default is not None else ''}",
        )(function)
    return function


@click.command(name="chat")
@click.argument("folder", metavar="DIR")
@click.option(
    "-p",
    "--prompt",
    "prompts",
    multiple=True,
    metavar="TEXT",
    help="Answer this and leave, printing only the answer; '-' reads it from standard input. "
    "Repeat it for the next questions of the same conversation.",
)
@click.option("--system", default="", metavar="TEXT", help="A system message before everything.")
@click.option(
    "--history",
    type=click.IntRange(min=0),
    default=None,
    metavar="N",
    help="Remember the last N exchanges; 0: every question stands alone. [all that fit]",
)
@click.option(
    "--raw/--chat",
    "raw",
    default=None,
    help="Continue the text as it stands, or use the chat template. [raw for pretrained weights]",
)
@click.option("--think/--no-think", default=None, help="Ask a model that can think to do it, or not to.")
@sampling_options
@click.option(
    "--device",
    default="auto",
    metavar="NAME",
    help="Where to compute; auto: the accelerator if there is a usable one. [auto]",
)
@click.option("--dtype", default="auto", metavar="NAME", help="auto, float32, bfloat16 or float16. [auto]")
@click.option(
    "--lang", type=click.Choice(["auto", "en", "zh"]), default="auto", help="Language of the hints. [$LANG]"
)
@click.option("--color/--no-color", default=None, help="Colours. [where standard output is a terminal]")
def command(
    folder: str, prompts: tuple[str, ...], system: str, history: int | None, raw: bool | None,
    think: bool | None, device: str, dtype: str, lang: str, color: bool | None, **sampling: Any,
) -> None:  # fmt: skip
    """Talk to the model in DIR: finished weights (out/NAME), a run, or one checkpoint of a run.

    \b
    danlu chat out/full_sft_512
    danlu chat out/full_sft_512 --prompt 'What is steel?' --temperature 0
    danlu chat out/pretrain_512 --prompt 'Once upon a time' --max-tokens 60
    danlu chat runs/full_sft_512/20261121-093000        the newest checkpoint of a run

    Ctrl-C stops an answer, twice leaves.
    """
    given = {
        key: list(value) if key == "stop" else value
        for key, value in sampling.items()
        if value not in (None, ())
    }
    chosen = checked({**DEFAULTS, **given}, "the command line", "'danlu chat --help' tells what each may be")
    texts = [sys.stdin.read() if text == "-" else text for text in prompts]
    from danlu.chat_session import WORDS, Session, lines
    from danlu.evaluate.load import load_model, stage_of
    from danlu.generate.conversation import Conversation
    from danlu.generate.load import ends
    from danlu.generate.prompt import context

    model, tokenizer = load_model(folder, device, dtype)
    if raw is None:
        raw = stage_of(folder) == "pretrain"
    talk = (
        None
        if raw
        else Conversation(tokenizer, context(model), system, history, think, chosen.max_tokens or 1)
    )
    if color is None:
        color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    session = Session(model, tokenizer, talk, chosen, WORDS[language(lang)], color, ends(folder, tokenizer))
    if texts:
        if any(session.answer(text) for text in texts):
            sys.exit(130)
        return
    session.hint("raw" if raw else "chat", name=os.path.basename(os.path.normpath(folder)))
    session.run(lines(session.words["you"]))


def language(asked: str) -> str:
    """Return the language to speak: the one asked for, else that of the environment."""
    if asked != "auto":
        return asked
    found = next((os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), "")
    return "zh" if found.lower().startswith("zh") else "en"
