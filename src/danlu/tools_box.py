"""Which tools a command means: the options, and the box they stand for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from danlu.tools.run import Runs

SETS = ("all", "classic", "starter")


def box_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say which tools are meant: tools, mcp."""
    command = click.option(
        "--mcp",
        metavar="WHERE",
        help="An MCP server's: its address (http://...), or the command that starts it.",
    )(command)
    return click.option(
        "--tools",
        type=click.Choice(SETS),
        default="all",
        show_default=True,
        help="Of two tools with one name, 'all' has the classic one.",
    )(command)


@contextlib.contextmanager
def box_of(tools: str, mcp: str | None) -> Iterator[Runs]:
    """Yield the tools that are meant."""
    from danlu.evaluate.tools.boxes import toolboxes
    from danlu.tools.mcp import McpTools
    from danlu.tools.run import Toolboxes

    if mcp is not None:
        with McpTools(mcp) as box:
            yield box
        return
    boxes = toolboxes()
    yield Toolboxes(boxes["classic"], boxes["starter"]) if tools == "all" else boxes[tools]
