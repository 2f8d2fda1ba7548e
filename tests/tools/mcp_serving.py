"""A server of the classic tools over MCP, in a process of its own, for as long as a test needs it."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading

COMMAND = [sys.executable, "-m", "danlu", "tools", "serve", "--tools", "classic"]


@contextlib.contextmanager
def over_http(*options):
    """Yield the address of a server that is stopped in the end."""
    server = subprocess.Popen(
        [*COMMAND, "--http", "127.0.0.1:0", *options], stderr=subprocess.PIPE, text=True, env=os.environ
    )
    try:
        said = []
        for line in server.stderr:
            said.append(line)
            if address := re.search(r"http://\S+/mcp", line):
                break
        else:
            raise AssertionError("".join(said))
        threading.Thread(target=server.stderr.read, daemon=True).start()
        yield address[0]
    finally:
        server.terminate()
        server.wait(20)
