"""`danlu info`: what this host is, what the engine would use of it, and what stands in the way.

It answers on any host: what needs torch is asked in another process (`device/report.py`), so a torch
that cannot be imported is one of the answers instead of a traceback.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import click

from danlu import __version__
from danlu.device import host, report

LAUNCHERS = ("torchrun", "accelerate", "srun")
WIDTH = 22  # of the left column


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines to read.")
def command(as_json: bool) -> None:
    """Print host, device, versions and features.

    It answers on any host, also where torch cannot be imported, and says what stands in the way.

    \b
    danlu info            to read
    danlu info --json     to attach to a report
    """
    known: dict[str, Any] = {
        "danlu": __version__,
        "host": about_host(),
        "versions": report.versions(),
        "launchers": {name: find_program(name) for name in LAUNCHERS},
    }
    if as_json:
        click.echo(json.dumps(known | report.gather(), ensure_ascii=False, indent=2))
        return
    click.echo(f"danlu {__version__}")
    show("host", known["host"] | {"memory": gigabytes(known["host"]["memory"])})
    show("versions", known["versions"])
    found = report.gather()
    device = found.get("device", {})
    readable = {"memory": gigabytes(device["memory"])} if device else {}
    if "peak_flops" in device:
        readable["peak_flops"] = f"{device['peak_flops'] / 1e12:,.0f} TFLOP/s (the vendor's figure)"
    show("device", device | readable)
    show("features", found.get("features", {}))
    show("launchers", known["launchers"])
    for trouble in found["problems"]:
        click.echo(f"\nerror: {trouble['problem']}\n  try: {trouble['try']}")


def about_host() -> dict[str, Any]:
    """Return what the system says of itself."""
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}{distribution()}",
        "processor": host.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory": host.memory(),
        "python": f"{platform.python_version()} ({sys.executable})",
    }


def distribution() -> str:
    """Return the system's own name in brackets, where it has one."""
    try:
        return f" ({platform.freedesktop_os_release()['PRETTY_NAME']})"
    except (OSError, KeyError):
        return ""


def find_program(name: str) -> str | None:
    """Return where a program lies: beside this Python, or on the path."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name)


def show(title: str, values: dict[str, Any]) -> None:
    """Print one group: its title, then each name with what is known of it."""
    if values:
        click.echo(f"\n{click.style(title, bold=True)}")
    for name, value in values.items():
        click.echo(f"  {name.replace('_', ' '):<{WIDTH}}{readable(value)}")


def readable(value: Any) -> str:
    """Return a value as a person says it.

    >>> readable(True), readable(None), readable([]), readable("no compiler")
    ('yes', 'not here', 'none', 'no compiler')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "not here"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return str(value)


def gigabytes(size: int) -> str:
    """Return bytes as GB."""
    return f"{size / 1e9:.1f} GB"
