"""The command line: `danlu COMMAND`, each command imported only when it is called.

`--help` must answer at once, so this file knows one line about every command and nothing else.
"""

from __future__ import annotations

import click

from danlu import __version__
from danlu.base.commands import Lazy, run
from danlu.device import autoload

# name: (module with a click command called `command`, what it does)
COMMANDS = {
    "train": ("danlu.training", "Train a stage: a name in configs/ or a YAML file, then key=value."),
    "config": ("danlu.explain", "Print every key of a stage with its default and meaning."),
    "chat": ("danlu.chat", "Talk to finished weights, or answer --prompt and leave."),
    "data": ("danlu.data_commands", "Check, show, convert and prepare data; write a starter set."),
    "tokenizer": (
        "danlu.tokenizer_commands",
        "Train or measure a tokenizer; extend or trim a vocabulary.",
    ),
    "eval": ("danlu.eval", "Measure a model: perplexity, tool calling."),
    "serve": ("danlu.serving", "Serve a model behind OpenAI's API, with a page to talk to it."),
    "vllm": ("danlu.vllm", "Serve an export with the vLLM command that fits this host; status, logs, stop."),
    "tools": ("danlu.tools_commands", "List, call and offer the tools that a model may call; MCP."),
    "plot": ("danlu.plot", "Draw loss, learning rate and throughput of runs into one PNG."),
    "compat": (
        "danlu.compat",
        "What works on this device and how fast; what a log's failures mean.",
    ),
    "selfcheck": ("danlu.selfcheck", "Check this host's devices end to end, into one report."),
    "info": ("danlu.info", "Print host, device, versions and features."),
    "health": ("danlu.health", "Wait until a server answers."),
}


@click.group(cls=Lazy, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="danlu")
def cli() -> None:
    """Danlu (丹炉): from a file of text to an aligned, tool-calling model behind an endpoint.

    \b
    danlu train pretrain model=26m data.train=corpus.jsonl
    danlu train sft model=26m from=out/pretrain_512 data.train=chats.jsonl
    danlu serve out/full_sft_512
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    autoload.guard()
    run(cli, "danlu", arguments)
