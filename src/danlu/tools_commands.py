"""`danlu tools`: the tools that a model may call here, called by hand or offered to others over MCP."""

from __future__ import annotations

import click

from danlu.base.commands import Lazy

COMMANDS = {
    "list": ("danlu.tools_list", "Print the tools with what they take."),
    "call": ("danlu.tools_call", "Call one as a model would, and print what it answers."),
    "serve": ("danlu.tools_serve", "Offer them over MCP to whatever speaks it."),
}


@click.group(cls=Lazy, table=COMMANDS)
def command() -> None:
    """The tools that a model may call: safe, offline, the same for everybody.

    Four classics (weather, sums, search, time) and those that the starter set's dialogues call. With
    --mcp the tools are those of an MCP server instead.

    \b
    danlu tools list
    danlu tools call calculate '{"expression": "(3 + 4) * 5"}'
    danlu tools serve --http 127.0.0.1:8100
    """
