"""`danlu compat`: what works on this device, how fast, and what a log's failures mean."""

from __future__ import annotations

import click

from danlu.base.commands import Lazy

COMMANDS = {
    "report": ("danlu.compat_report", "Every operator the engine uses: native, fallback or missing here."),
    "bench": ("danlu.compat_bench", "Time the device's fused operations beside the plain ones."),
    "logs": ("danlu.compat_logs", "Name the known failures in log files, their cause and what to do."),
}


@click.group(cls=Lazy, table=COMMANDS)
def command() -> None:
    """Find out what works on this device, and what went wrong.

    DANLU_COMPAT=fallback|warn|strict says what happens where the device's own operation cannot be used: the
    plain one computes it, in silence or with a word (the default), or the run ends.

    \b
    danlu compat report                   a table of all operators
    danlu compat report --json            to attach to a report
    danlu compat bench                    milliseconds of each fused operation
    danlu compat logs runs/*/log.txt      what the failures in them mean
    """
