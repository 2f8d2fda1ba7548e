"""A stand-in for vLLM's Python: it answers as `vllm.entrypoints.openai.api_server` would, in a blink.

What it is to do stands in STAND_IN, words apart by spaces:

    refuse      say "Address already in use" and end with 1
    killed      end by SIGKILL
    children    start a process of its own that outlives it
    stubborn    the same, and neither of them hears SIGTERM
    mute        never be well
    toolless    answer a demanded call with words
    leave       die a moment after it was asked the last thing
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DO = os.environ.get("STAND_IN", "").split()
CHILD = "import signal, time; signal.signal(signal.SIGTERM, {}); time.sleep(600)"


class Answers(BaseHTTPRequestHandler):
    """OpenAI's answers, always the same."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send(503 if "mute" in DO else 200, {})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = os.environ.get("VLLM_API_KEY")
        if key and self.headers["Authorization"] != f"Bearer {key}":
            return self._send(401, {"error": {"message": "Unauthorized"}})
        message = {"role": "assistant", "content": "hello"}
        if isinstance(asked.get("tool_choice"), dict) and "toolless" not in DO:
            call = {"name": asked["tool_choice"]["function"]["name"], "arguments": '{"city": "北京"}'}
            message = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": call}]}
        self._send(200, {"choices": [{"message": message}], "usage": {"completion_tokens": 3}})
        if "leave" in DO and asked.get("tool_choice") == "auto":
            threading.Timer(0.3, os._exit, [7]).start()

    def log_message(self, *words: object) -> None:
        print(self.requestline, flush=True)

    def _send(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    print("non-default args: {}\nLoading weights took 0.01 seconds", flush=True)
    if "refuse" in DO:
        print("OSError: [Errno 98] Address already in use", flush=True)
        sys.exit(1)
    if "killed" in DO:
        os.kill(os.getpid(), signal.SIGKILL)
    deaf = "stubborn" in DO
    if deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "children" in DO or deaf:
        how = "signal.SIG_IGN" if deaf else "signal.SIG_DFL"
        subprocess.Popen([sys.executable, "-c", CHILD.format(how)])
    port = int(sys.argv[sys.argv.index("--port") + 1])
    ThreadingHTTPServer(("127.0.0.1", port), Answers).serve_forever()


if __name__ == "__main__":
    main()
