"""`danlu selfcheck`: does this host's device compute, train, save and leave as it should? One report tells.

It is what an owner of hardware runs once, and attaches: the engine's own tests run where nobody has a card.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

# name, which is a function's: (the function's module, what it finds out)
CASES = {
    "operations": ("danlu.selfcheck_cases", "each operation is the processor's, forward and backward"),
    "trajectory": (
        "danlu.selfcheck_cases",
        "a small model learns what one learned on a processor, in float32",
    ),
    "resume": ("danlu.selfcheck_cases", "random numbers go on where they were"),
    "overflow": ("danlu.selfcheck_cases", "a float16 overflow is seen, and only then"),
    "ceiling": ("danlu.selfcheck_cases", "how fast matrices are multiplied"),
    "utilisation": ("danlu.selfcheck_cases", "what share of that training reaches, preset by preset"),
    "commands": ("danlu.selfcheck_runs", "train, stop, go on, export: as whole commands"),
    "ranks": ("danlu.selfcheck_runs", "all cards together learn what one learns, with ddp and fsdp"),
    "bandwidth": ("danlu.selfcheck_runs", "how fast all cards sum"),
}


@click.command()
@click.option("--device", "kind", default="auto", show_default=True, help="The device to check.")
@click.option("--only", multiple=True, type=click.Choice(list(CASES)), help="These cases alone. Repeatable.")
@click.option("--minutes", default=10.0, show_default=True, help="Begin no case after that.")
@click.option("--report", type=click.Path(path_type=Path), help="Write the report here. [standard output]")
def command(kind: str, only: tuple[str, ...], minutes: float, report: Path | None) -> None:
    """Check this host's devices end to end: operations, training, several cards, export, speed.

    Prints a line for each case to standard error, and one JSON object to attach to a report. Ends with 1
    if something was found to be wrong. What needs more cards is left out with a word.

    \b
    danlu selfcheck --report selfcheck.json
    danlu selfcheck --device cpu --only operations --only trajectory
    """
    from danlu.base import paths
    from danlu.device import api

    device = api.choose(kind)
    began = time.monotonic()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in only or CASES:
            late = time.monotonic() - began > minutes * 60
            found[name] = {"left_out": "the time was over"} if late else run(name, device, Path(folder))
            click.echo(f"{verdict(found[name]):<9}{name:<13}{CASES[name][1]}", err=True)
    text = json.dumps(about(device) | {"cases": found}, ensure_ascii=False, indent=2)
    if report is None:
        click.echo(text)
    else:
        paths.write_text(report, text + "\n")
    if any("wrong" in one for one in found.values()):
        sys.exit(1)


def run(name: str, device: Any, folder: Path) -> dict[str, Any]:
    """Return what one case measured, or what is wrong; no fault of one keeps the others from running."""
    began = time.monotonic()
    try:
        found = getattr(importlib.import_module(CASES[name][0]), name)(device, folder)
    except Exception as error:  # noqa: BLE001 (whatever it is, it belongs into the report)
        found = {"wrong": f"{type(error).__name__}: {error}"[:2000]}
    return found | {"seconds": round(time.monotonic() - began, 1)}


def verdict(found: dict[str, Any]) -> str:
    return "WRONG" if "wrong" in found else "left out" if "left_out" in found else "ok"


def about(device: Any) -> dict[str, Any]:
    """Return what is known of the host and the device."""
    import torch

    from danlu import __version__, info
    from danlu.device import report

    return {
        "danlu": __version__,
        "host": info.about_host(),
        "versions": report.versions(),
        "device": {
            "kind": device.kind,
            "name": device.name,
            "count": 1 if device.kind == "cpu" else torch.accelerator.device_count(),
            "memory": device.memory()["total"],
        },
    }
