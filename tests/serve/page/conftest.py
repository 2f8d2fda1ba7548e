"""A real browser, and a page in it that speaks to a scripted server.

`page(name, ...)` calls a method of Playwright's page: page("click", "#send"). The browser lives in a process
of its own, of the Python of .venv-browser, so that the tests themselves run where all tests do.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripted_peer import Peer, serving

PYTHON = Path(__file__).resolve().parents[3] / ".venv-browser/bin/python"


class Browser:
    """Asks the child process; any method of Playwright's page can be called by its name."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("drive.py")
        self.process = subprocess.Popen(
            [PYTHON, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    def __call__(self, name: str, *arguments: Any, **keywords: Any) -> Any:
        assert self.process.stdin and self.process.stdout
        print(json.dumps([name, arguments, keywords]), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        assert line, "the browser is gone"
        told = json.loads(line)
        assert "error" not in told, told["error"]
        return told["ok"]

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(30)

    def sees(self, text: str) -> None:
        """Wait until a text is on the page."""
        self("wait_for_function", "text => document.body.innerText.includes(text)", arg=text)

    def ask(self, text: str) -> None:
        """Send a message, and wait for the end of the answer."""
        self("fill", "#input", text)
        self("press", "#input", "Enter")
        self.done()

    def done(self) -> None:
        self("wait_for_function", "() => !running && document.querySelector('.assistant > .acts')")

    def texts(self, selector: str) -> list[str]:
        return self(
            "evaluate", "s => [...document.querySelectorAll(s)].map(node => node.textContent)", selector
        )


@pytest.fixture
def peer() -> Iterator[Peer]:
    with serving() as found:
        yield found


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def page(chromium: Browser, peer: Peer) -> Browser:
    """The page as the peer serves it, in English, connected; nothing kept from before."""
    chromium("open", peer.url, locale="en-GB")
    chromium("wait_for_function", "() => server.state === 'up' && !document.querySelector('#model').disabled")
    return chromium
