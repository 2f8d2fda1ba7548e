"""Docker's own client, made to tell how it read a command: what it would ask a daemon for.

    read = DockerParser()
    read(["docker", "run", "--rm", "--shm-size", "1g", "image"])["HostConfig"]["ShmSize"]      1073741824
    read(["docker", "run", "--shm", "1g", "image"])                             Misread: unknown flag ...

The client speaks to a socket of ours, which answers a ping as a daemon on Linux does, keeps what it hears of
the container that is to be made, and refuses to make it.
"""

from __future__ import annotations

import http.server
import json
import os
import socketserver
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

UNDERSTOOD = "read to its end"


class Misread(Exception):
    """What docker says of words it does not understand."""


class _Daemon(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    asked: dict[str, Any]


class _Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer(200, b"")

    def do_GET(self) -> None:
        self.answer(200, b"OK")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        assert isinstance(self.server, _Daemon)
        if "/containers/create" in self.path:
            self.server.asked = json.loads(body)
        self.answer(500, json.dumps({"message": UNDERSTOOD}).encode())

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        for name, value in (
            ("Api-Version", "1.41"),
            ("OSType", "linux"),
            ("Content-Type", "application/json"),
        ):
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.command != "HEAD" else b"")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class DockerParser:
    """Reads `docker run` commands; to be closed."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._socket = Path(self._folder.name) / "docker.sock"
        self._daemon = _Daemon(str(self._socket), _Answers)
        threading.Thread(target=self._daemon.serve_forever, args=(0.05,), daemon=True).start()

    def __call__(self, words: Sequence[str]) -> dict[str, Any]:
        """Return the container that docker would ask a daemon for."""
        self._daemon.asked = {}
        env = os.environ | {"DOCKER_HOST": f"unix://{self._socket}", "DOCKER_CONFIG": self._folder.name}
        done = subprocess.run(words, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if UNDERSTOOD not in done.stderr:
            raise Misread(done.stderr)
        return self._daemon.asked

    def close(self) -> None:
        self._daemon.shutdown()
        self._daemon.server_close()
        self._folder.cleanup()
