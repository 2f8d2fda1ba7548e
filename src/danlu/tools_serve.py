"""`danlu tools serve`: the tools, offered over MCP."""

from __future__ import annotations

import ipaddress

import click

from danlu.base.errors import UserError
from danlu.tools_box import box_of, box_options


@click.command(name="serve")
@box_options
@click.option("--http", metavar="HOST:PORT", help="Over streamable HTTP, at /mcp; port 0 takes any.")
@click.option("--insecure", is_flag=True, help="Let other machines call: nobody is asked who they are.")
@click.option(
    "--cors", "origins", multiple=True, metavar="ORIGIN",
    help="Let pages of this origin call; 'null' is a page opened from disk. Repeatable.",
)  # fmt: skip
def command(tools: str, mcp: str | None, http: str | None, insecure: bool, origins: tuple[str, ...]) -> None:
    """Offer the tools over MCP, the Model Context Protocol, until stopped.

    Without --http they are offered over standard input and output, which is how editors and chat programs
    start a server. With --mcp another server's tools are handed on, so that a server of one transport can
    be reached by the other.

    \b
    danlu tools serve                              what to put into a host's list of servers
    danlu tools serve --http 127.0.0.1:8100        then: danlu tools list --mcp http://127.0.0.1:8100/mcp
    """
    from danlu.base.log import say
    from danlu.tools.mcp import serve

    address = address_of(http, insecure) if http is not None else None
    with box_of(tools, mcp) as box:
        count = len(box.definitions())
        serve(box, address, lambda at: say(f"{count} tools over MCP at {at}; Ctrl-C ends"), origins)


def address_of(http: str, insecure: bool) -> tuple[str, int]:
    """Return host and port, none that other machines reach unless that is meant."""
    host, _, port = http.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise UserError(f"--http {http}: is not HOST:PORT", "--http 127.0.0.1:8100")
    if not insecure and not _is_here(host):
        raise UserError(
            f"--http {http}: other machines could call these tools, and nobody would ask who they are",
            "--http 127.0.0.1:" + port + ", or --insecure if that is meant",
        )
    return host, int(port)


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
