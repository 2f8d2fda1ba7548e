"""The gateway as it is, with a real nginx: only its port, folders and replicas are changed to this host's."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from compose.files import FOLDER

CONF = FOLDER / "gateway.conf"


def written(folder: Path, port: int, replicas: Sequence[str]) -> Path:
    """Write the gateway's configuration for replicas at `host:port`; an older nginx knows no `resolve`."""
    text = CONF.read_text(encoding="utf-8")
    server = re.search(r"server serve:8000 resolve( .*);", text)
    assert server
    lines = "\n".join(f"server {replica}{server[1]};" for replica in replicas)
    for old, new in {
        server[0]: lines,
        "listen 8080;": f"listen 127.0.0.1:{port};",
        "worker_processes auto;": "worker_processes 1;",
        "/page;": f"{FOLDER.parent / 'src/danlu/serve/page'};",
    }.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / "nginx.conf"
    path.write_text(text.replace("/tmp/", f"{folder}/"), encoding="utf-8")
    return path


def checked(path: Path) -> str:
    """What nginx finds wrong with a configuration; nothing if it is good."""
    done = subprocess.run([found(), "-t", "-q", "-c", path], capture_output=True, text=True)
    return done.stderr if done.returncode else ""


def found() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def gateway(folder: Path, replicas: Sequence[str]) -> Iterator[str]:
    """Run the gateway before replicas until the block ends; its address."""
    port = free_port()
    command = [str(found()), "-c", str(written(folder, port, replicas)), "-g", "daemon off;"]
    process = subprocess.Popen(command, stderr=(folder / "log").open("w"))
    try:
        wait_for(f"http://127.0.0.1:{port}/gateway", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until something answers there, as long as it lives."""
    while process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    raise AssertionError(f"it has ended with {process.returncode}")


def status(url: str) -> int:
    """What is answered there, in a number."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
