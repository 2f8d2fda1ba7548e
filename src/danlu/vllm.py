"""`danlu vllm DIR`: start the vLLM command that fits these weights and this host, and prove that it serves.

Where vLLM cannot serve them, the built-in server is started in its place, and why is said. Either way the
server is one that `danlu vllm status`, `logs` and `stop` know, whoever started it and from wherever.
"""

from __future__ import annotations

from typing import Any

import click

from danlu.base.commands import Lazy

START = "start"
COMMANDS = {
    START: ("danlu.vllm_start", "Serve the weights in DIR; the word may be left out."),
    "status": ("danlu.vllm_running", "Tell which servers run here."),
    "logs": ("danlu.vllm_running", "Print what a server says."),
    "stop": ("danlu.vllm_running", "End a server, and all its processes."),
}


class Starting(Lazy):
    """A group whose first word may be the folder to serve: then `start` is meant."""

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in ("status", "logs", "stop"):
            from danlu import vllm_running

            return vllm_running.COMMANDS[name]
        return super().get_command(ctx, name)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        known = bool(args) and args[0] in COMMANDS
        return super().resolve_command(ctx, args if known else [START, *args])

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        start = self.get_command(ctx, START)
        assert start is not None
        start.format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


@click.group(
    cls=Starting,
    table=COMMANDS,
    options_metavar="",
    subcommand_metavar="DIR [OPTIONS] | COMMAND",
    context_settings={"ignore_unknown_options": True, "help_option_names": ["-h", "--help"]},
)
def command() -> None:
    """Serve the export in DIR with vLLM, or, where vLLM cannot, with the built-in server.

    \b
    danlu vllm out/full_sft_512-hf                 until Ctrl-C
    danlu vllm out/full_sft_512-hf --dry-run       print the command, start nothing
    danlu vllm out/full_sft_512-hf --detach        go on without this terminal
    danlu vllm status; danlu vllm logs -f; danlu vllm stop
    """
