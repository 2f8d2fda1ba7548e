"""`danlu vllm status`, `logs` and `stop`: the servers that run on this host, whoever started them."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from typing import Any

import click

from danlu.base.log import say
from danlu.serve.vllm import launch, process, state
from danlu.serve.vllm.progress import Tail
from danlu.serve.vllm.proof import Api
from danlu.serve.vllm.state import Server

PAUSE = 0.25
ONE_TRY = 2.0
WHICH = click.argument("which", metavar="[NAME | PORT]", required=False)


@click.command(name="status")
@click.option("--json", "as_json", is_flag=True, help="One JSON list instead of lines to read.")
def status(as_json: bool) -> None:
    """Tell which servers run here; exit 1 if none answers."""
    found = [about(server) for server in state.servers()]
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False, indent=2))
    for each in [] if as_json else found:
        click.echo(f"{each['name']:<24} {each['url']:<26} {each['server']:<6} {each['state']}")
        click.echo(f"  {each['folder']}, pid {each['pid']}, since {each['since']}, log {each['log']}")
    if not found:
        say("no server was started here")
    if not any(each["state"] == "answers" for each in found):
        sys.exit(1)


@click.command(name="logs")
@WHICH
@click.option("-f", "--follow", is_flag=True, help="Go on as it says more, until it ends or Ctrl-C.")
@click.option(
    "-n",
    "--lines",
    default=40,
    show_default=True,
    type=click.IntRange(0),
    metavar="N",
    help="How many to begin with.",
)
def logs(which: str | None, follow: bool, lines: int) -> None:
    """Print the last lines of what a server says."""
    server = state.find(which)
    tail = Tail(server.log)
    for line in deque(tail.lines(), maxlen=lines):
        click.echo(line)
    while follow and server.running():
        time.sleep(PAUSE)
        for line in tail.lines():
            click.echo(line)


@click.command(name="stop")
@WHICH
@click.option("--all", "every", is_flag=True, help="All of them.")
@click.option(
    "--timeout",
    default=process.PATIENCE,
    show_default=True,
    metavar="SECONDS",
    help="Time to end by itself before it is killed.",
)
def stop(which: str | None, every: bool, timeout: float) -> None:
    """End a server, and all its processes."""
    for server in state.servers() if every else [state.find(which)]:
        if not server.running():
            launch.stop(server, timeout)
            say(f"{server.name} had ended before")
            continue
        killed = launch.stop(server, timeout)
        say(f"{server.name} was {'killed, for it did not end by itself' if killed else 'stopped'}")


COMMANDS: dict[str, click.Command] = {"status": status, "logs": logs, "stop": stop}


def about(server: Server) -> dict[str, Any]:
    """Return what is known of a server, for people and programs."""
    running = bool(server.running())
    answers = running and Api(server.url, server.name).healthy(ONE_TRY)
    return {
        "name": server.name,
        "url": server.url,
        "server": server.server,
        "state": "answers" if answers else "starts, or does not answer" if running else "has ended",
        "folder": server.folder,
        "pid": server.pid,
        "since": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(server.since)),
        "log": str(server.log),
        "command": server.command,
    }
