"""The command line: `danlu COMMAND`, each command imported only when it is called.

`--help` must answer at once, so this file knows one line about every command and nothing else.
A `UserError` anywhere below ends here as two lines and exit code 2.
"""

from __future__ import annotations

import os
import sys

import click

from danlu import __version__
from danlu.base.errors import UserError
from danlu.base.log import rank
from danlu.lazy import Lazy

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
    "eval": ("danlu.eval", "Measure a model: perplexity."),
    "plot": ("danlu.plot", "Draw loss, learning rate and throughput of runs into one PNG."),
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
    danlu chat out/full_sft_512
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with its exit code: 0 done, 2 a mistake to mend, 130 stopped."""
    try:
        cli.main(args=arguments, prog_name="danlu", standalone_mode=False)
    except UserError as error:
        print((f"[rank {rank()}] " if rank() else "") + str(error), file=sys.stderr, flush=True)
        sys.exit(2)
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except click.UsageError as error:
        usage = f"'{error.ctx.command_path if error.ctx else 'danlu'} --help'"
        print(UserError(error.format_message(), usage), file=sys.stderr)
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
