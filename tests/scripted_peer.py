"""A server of OpenAI's shape that answers what a test has written down.

    peer.script("Hello")                                  an answer in one piece
    peer.script([{"content": "He"}, {"content": "llo"}])  in these deltas
    peer.script(call("get_weather", city="北京"))          a call
    peer.script(refuse(429, "full"))                      an error
    peer.requests                                         what it was sent, in order

Its answers are known to the letter, so that what a client makes of them can be too. It serves the
playground at /, as `danlu serve` does, and lets every page speak to it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "src/danlu/serve/page/index.html"
Delta = dict[str, Any]
Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """One request to the peer."""

    server: Peer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def head(self, status: int, kind: str, length: int | None = None, **more: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Access-Control-Allow-Headers", "*, Authorization")
        self.send_header("Access-Control-Expose-Headers", "*")
        for name, value in more.items():
            self.send_header(name.replace("_", "-"), value)
        if length is None:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def json(self, body: Any, status: int = 200, **more: str) -> None:
        data = json.dumps(body).encode()
        self.head(status, "application/json", len(data), **more)
        self.wfile.write(data)

    def piece(self, data: bytes) -> None:
        """Send bytes as a chunk of their own."""
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def do_OPTIONS(self) -> None:
        self.head(204, "text/plain", 0)

    def do_GET(self) -> None:
        if self.path == "/":
            data = PAGE.read_bytes()
            self.head(200, "text/html; charset=utf-8", len(data))
            self.wfile.write(data)
        elif self.path in self.server.documents:
            self.json(self.server.documents[self.path])
        else:
            self.json({"error": {"message": "no such path"}}, 404)

    def do_POST(self) -> None:
        self.body = body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append({"path": self.path, "headers": dict(self.headers), **body})
        if handler := self.server.posts.get(self.path):
            self.json(handler(body))
        else:
            self.server.answers.pop(0)(self)


class Peer(ThreadingHTTPServer):
    """A server whose answers are scripted."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Answer] = []
        self.requests: list[dict[str, Any]] = []
        self.documents: dict[str, Any] = {"/v1/models": {"data": [{"id": "tiny"}, {"id": "other"}]}}
        self.posts: dict[str, Callable[[Any], Any]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The requests for answers."""
        return [request for request in self.requests if request["path"].endswith("/chat/completions")]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser may leave whenever it likes."""

    def script(self, *answers: str | list[Delta] | Answer) -> None:
        """Add answers, to be given in this order."""
        self.answers += [answer if callable(answer) else told(answer) for answer in answers]


def event(delta: Delta, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}, ensure_ascii=False).encode() + b"\n\n"


def told(answer: str | list[Delta], finish: str = "") -> Answer:
    """Stream deltas, then why it ended, the usage and [DONE]."""
    deltas = [{"content": answer}] if isinstance(answer, str) else answer
    why = finish or ("tool_calls" if any("tool_calls" in delta for delta in deltas) else "stop")
    usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 10, "total_tokens": 17}}

    def give(handler: Handler) -> None:
        handler.head(200, "text/event-stream")
        for delta in deltas:
            handler.piece(event(delta))
        handler.piece(event({}, why) + b"data: " + json.dumps(usage).encode() + b"\n\ndata: [DONE]\n\n")
        handler.piece(b"")

    return give


def call(name: str, id: str = "call_1", index: int = 0, **arguments: Any) -> list[Delta]:
    """A call, its arguments in pieces."""
    text = json.dumps(arguments, ensure_ascii=False)
    begin = {"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}
    pieces = [text[at : at + 5] for at in range(0, len(text), 5)]
    return [
        {"role": "assistant", "tool_calls": [begin]},
        *[{"tool_calls": [{"index": index, "function": {"arguments": piece}}]} for piece in pieces],
    ]


def refuse(status: int, message: str, **headers: str) -> Answer:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": status}
    return lambda handler: handler.json({"error": error}, status, **headers)


@contextmanager
def serving() -> Iterator[Peer]:
    peer = Peer()
    thread = threading.Thread(target=peer.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield peer
    finally:
        peer.shutdown()
        peer.server_close()
        thread.join(10)
