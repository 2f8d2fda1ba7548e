"""Requests without a client library: what is sent is what is written here, byte for byte."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any


def events(url: str, body: Any, headers: dict[str, str] | None = None) -> Iterator[str]:
    """Yield the lines of a stream of events as they come, empty ones left out."""
    request = _request(url, body, headers or {})
    with urllib.request.urlopen(request, timeout=120) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield from (line for raw in answer if (line := raw.decode().strip()))


def asked(
    url: str, body: Any = None, headers: dict[str, str] | None = None, method: str | None = None
) -> tuple[int, Any, dict[str, str]]:
    """Return status, JSON (or text) and headers of a plain request; `body` is JSON, or bytes as they are."""
    request = _request(url, body, headers or {}, method)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, _read(answer.read()), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _read(error.read()), dict(error.headers)


def _read(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode()


def _request(
    url: str, body: Any, headers: dict[str, str], method: str | None = None
) -> urllib.request.Request:
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    kind = {"Content-Type": "application/json"} if data is not None else {}
    return urllib.request.Request(url, data, {**kind, **headers}, method=method)
