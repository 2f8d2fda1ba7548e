"""`danlu health URL`: wait until a server answers that it is well.

    danlu health http://localhost:8000/health               exit 0 as soon as it is, 1 after a minute
    danlu health http://localhost:8000/health --timeout 0   ask once: for a container's health check

Any status below 400 is well. A refused connection, a 503 while weights are read, a name that does not
resolve yet: all of that may pass, so it is waited for, and the last reason is said at the end. The
server is asked directly, never through a proxy that the environment names.
"""

from __future__ import annotations

import http.client
import sys
import time
from urllib.parse import SplitResult, urlsplit

import click

from danlu.base import log
from danlu.base.errors import UserError

PAUSE = 1.0  # seconds between two tries; shorter at first, when a server is often just there
ONE_TRY = 5.0  # seconds a single answer may take
WORD_EVERY = 10.0  # seconds between lines where there is no terminal


@click.command()
@click.argument("url")
@click.option("--timeout", default=60.0, show_default=True, help="Seconds to wait; 0 asks once.")
def command(url: str, timeout: float) -> None:
    """Wait until the server at URL answers; exit 0 when it does, 1 when it does not.

    \b
    danlu health http://localhost:8000/health               up to a minute
    danlu health http://localhost:8000/health --timeout 0   ask once, as a container's health check
    """
    address = check(url)
    if timeout < 0:
        raise UserError(f"--timeout: {timeout:g}: less than nothing", "--timeout 60, in seconds; 0 asks once")
    began = time.monotonic()
    progress = Progress(url)
    pause = PAUSE / 8
    while True:
        left = timeout - (time.monotonic() - began)
        reason = ask(address, max(0.1, min(ONE_TRY, left)) if timeout else ONE_TRY)
        waited = time.monotonic() - began
        if reason is None:
            progress.end(f"{url}: up after {waited:.1f} s")
            return
        if waited >= timeout:
            progress.end(f"error: {url}: not up after {waited:.1f} s: {reason}")
            progress.end("  try: the server's log, or --timeout with more seconds")
            sys.exit(1)
        progress.waiting(waited, timeout, reason)
        time.sleep(min(pause, timeout - waited))
        pause = min(PAUSE, pause * 2)


def check(url: str) -> SplitResult:
    """Return the parts of an address that can be asked."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UserError(f"{url}: not an address: {error}", "http://localhost:8000/health") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        hint = f"http://{url}" if url and "://" not in url else "http://localhost:8000/health"
        raise UserError(f"{url or 'an empty word'}: not an http address", hint)
    return parts


def ask(parts: SplitResult, seconds: float) -> str | None:
    """Return None if the server is well, else why it does not seem to be."""
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=seconds)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("GET", target, headers={"User-Agent": "danlu-health"})
        answer = connection.getresponse()
    except TimeoutError:
        return "no answer yet"
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
    finally:
        connection.close()
    return None if answer.status < 400 else f"it answers {answer.status} {answer.reason}".rstrip()


class Progress:
    """One line that is written over on a terminal, a few lines elsewhere."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._terminal = log.attended()
        self._last: float | None = None

    def waiting(self, waited: float, timeout: float, reason: str) -> None:
        text = f"waiting for {self._url}  {waited:.0f} of {timeout:.0f} s  {reason}"
        if self._terminal:
            print(f"\r\x1b[2K{text}", end="", file=sys.stderr, flush=True)
        elif self._last is None or waited - self._last >= WORD_EVERY:
            self._last = waited
            print(text, file=sys.stderr, flush=True)

    def end(self, text: str) -> None:
        print(("\r\x1b[2K" if self._terminal else "") + text, file=sys.stderr, flush=True)
