"""`danlu health`: patient with a server that starts, quick with one that is up, plain about a bad address."""

from __future__ import annotations

import contextlib
import http.server
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from danlu import health
from danlu.base.errors import UserError

SRC = Path(health.__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(health, "PAUSE", 0.08)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nobody there: it must not be asked


@contextlib.contextmanager
def server(statuses: list[int], port: int = 0) -> Iterator[str]:
    """A server that answers with each status in turn, then with the last one for good."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    made = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{made.server_port}/health?deep=1"
    finally:
        made.shutdown()
        made.server_close()
        thread.join()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait(url: str, *words: str):
    return CliRunner().invoke(health.command, [url, *words], catch_exceptions=False)


@pytest.mark.parametrize("status", [200, 204, 302])
def test_a_server_that_is_up_is_reported_at_once(status):
    with server([status]) as url:
        began = time.monotonic()
        assert wait(url).exit_code == 0
        assert time.monotonic() - began < 2


def test_a_server_that_still_reads_its_weights_is_waited_for():
    with server([503, 503, 404, 200]) as url:
        said = wait(url, "--timeout", "20")
    assert said.exit_code == 0 and "up after" in said.output and "503" in said.output


def test_a_server_that_is_not_there_yet_is_waited_for():
    port = free_port()

    def later() -> None:
        time.sleep(0.3)
        with server([200], port):
            time.sleep(1.0)

    thread = threading.Thread(target=later)
    thread.start()
    said = wait(f"http://127.0.0.1:{port}/health", "--timeout", "20")
    thread.join()
    assert said.exit_code == 0 and "refused" in said.output


def test_one_that_never_comes_ends_with_the_reason_and_1():
    said = wait(f"http://127.0.0.1:{free_port()}", "--timeout", "0.3")
    assert said.exit_code == 1 and "refused" in said.output and "try:" in said.output
    with server([500]) as url:
        said = wait(url, "--timeout", "0.3")
    assert said.exit_code == 1 and "500" in said.output


def test_a_timeout_of_nothing_asks_once():
    with server([503, 200]) as url:
        assert wait(url, "--timeout", "0").exit_code == 1
        assert wait(url, "--timeout", "0").exit_code == 0


def test_a_server_that_accepts_and_says_nothing_does_not_hold_us():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        said = wait(f"http://127.0.0.1:{silent.getsockname()[1]}", "--timeout", "0.4")
    assert said.exit_code == 1 and "no answer yet" in said.output and time.monotonic() - began < 3


def test_something_that_is_no_http_is_not_well():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()

        def talk() -> None:
            with other.accept()[0] as end:
                end.recv(1000)
                end.sendall(b"SSH-2.0-OpenSSH\r\n")

        thread = threading.Thread(target=talk)
        thread.start()
        assert wait(f"http://127.0.0.1:{other.getsockname()[1]}", "--timeout", "0").exit_code == 1
        thread.join()


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://host/x", "http://", "http://host:99999", "http://[::1"]
)
def test_a_bad_address_is_refused_with_one_that_works(url):
    with pytest.raises(UserError, match="not an") as error:
        wait(url)
    assert error.value.hint.startswith("http://")


def test_on_the_command_line_a_bad_address_leaves_with_2_and_torch_is_not_loaded():
    command = [sys.executable, "-X", "importtime", "-m", "danlu", "health", "localhost:8000/health"]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(SRC)}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and "try: http://localhost:8000/health" in done.stderr
    assert "| torch" not in done.stderr
