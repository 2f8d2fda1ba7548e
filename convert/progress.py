"""A bar on a terminal; elsewhere a line every ten seconds, so that a log shows that work goes on."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from danlu.base.log import say

PATIENCE = 10.0  # seconds between two lines


def in_words(size: int) -> str:
    """Return bytes for a person.

    >>> in_words(2_500_000), in_words(3_990_000_000)
    ('2.5 MB', '3.99 GB')
    """
    return f"{size / 1e6:,.1f} MB" if size < 1e9 else f"{size / 1e9:,.2f} GB"


@contextlib.contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that hears of so many bytes done."""
    if sys.stderr.isatty():
        with _bar(what, total) as done:
            yield done
    else:
        yield _lines(what, total)


@contextlib.contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        "{task.description}",
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda size: bar.advance(task, size)


def _lines(what: str, total: int) -> Callable[[int], None]:
    began = told = time.monotonic()
    so_far = 0

    def done(size: int) -> None:
        nonlocal told, so_far
        so_far += size
        now = time.monotonic()
        if now - told > PATIENCE:
            told = now
            left = (now - began) * (total - so_far) / max(so_far, 1)
            say(f"{what}: {so_far / 1e9:,.2f} of {total / 1e9:,.2f} GB, {left:,.0f} s left")

    return done
