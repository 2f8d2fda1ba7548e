"""A real HTTP server that speaks OpenAI's shapes and says what a test lets it say."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]
Reply = dict[str, Any] | tuple[int, dict[str, str], Any]
"""A message, or status, headers and body."""


def says(text: str, **more: Any) -> Body:
    return {"role": "assistant", "content": text, **more}


def calls(*made: tuple[str, Any]) -> Body:
    """A message with calls; arguments that are text stand there as they are."""
    listed = [
        {
            "id": f"server{number}",
            "type": "function",
            "function": {
                "name": name,
                "arguments": given if isinstance(given, str) else json.dumps(given, ensure_ascii=False),
            },
        }
        for number, (name, given) in enumerate(made)
    ]
    return {"role": "assistant", "content": None, "tool_calls": listed}


def asked(body: Body) -> str:
    """What the user said last."""
    return [each["content"] for each in body["messages"] if each["role"] == "user"][-1]


def since(body: Body) -> int:
    """How often the model has spoken since then."""
    roles = [each["role"] for each in body["messages"]]
    return roles[len(roles) - 1 - roles[::-1].index("user") :].count("assistant")


class Scripted:
    """Answers on a port of its own until the end of a `with`."""

    def __init__(self, reply: Callable[[Body], Reply]) -> None:
        self.bodies: list[Body] = []
        self.headers: list[dict[str, str]] = []
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                """Say nothing."""

            def do_GET(self) -> None:
                self.send(200, {}, {"object": "list", "data": [{"id": "scripted", "object": "model"}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    outer.bodies.append(body)
                    outer.headers.append(dict(self.headers))
                    given = reply(body)
                if isinstance(given, tuple):
                    self.send(*given)
                    return
                reason = "tool_calls" if given.get("tool_calls") else "stop"
                choice = {"index": 0, "message": given, "finish_reason": reason}
                self.send(200, {}, {"id": "1", "object": "chat.completion", "choices": [choice]})

            def send(self, status: int, headers: dict[str, str], body: Any) -> None:
                if status == 0:  # the server is gone
                    self.close_connection = True
                    return
                raw = json.dumps(body).encode() if not isinstance(body, bytes) else body
                self.send_response(status)
                for key, value in {**headers, "Content-Length": str(len(raw))}.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(raw)

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                """A client that has left is no matter."""

        outer = self
        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Scripted:
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
