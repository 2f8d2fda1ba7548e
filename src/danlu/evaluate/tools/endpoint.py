"""A model behind an OpenAI endpoint: /v1/chat/completions, whoever serves it.

    Endpoint("http://localhost:8000", Settings(max_tokens=512), together=8)

Several requests are under way at once, a thread each. A busy server (429, 503) is asked again after as
long as it says; one that is gone ends everything. A request that alone is refused (400, 413, 422: a prompt
too long, say) is `Refused`, and the others go on; if the first ones all are, it is the server that
refuses, and that ends everything too. A server that counts `max_tokens` in addition to the prompt against
its context is asked again without: it then takes what is left.
"""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import json
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any
from urllib.parse import urlsplit

from danlu.base.errors import UserError
from danlu.evaluate.tools.settings import Settings
from danlu.evaluate.tools.talk import Ask, Refused
from danlu.tools.parse import Call, Message
from danlu.tools.told import json_text

TRIES = 8
LONGEST_PAUSE = 30.0  # seconds
PATIENCE = 600.0  # seconds for one answer
AT_FIRST = 4  # requests refused, and none answered, until the server itself is thought to refuse
BUSY = (429, 503)
ONE_ALONE = (400, 413, 422)


class Endpoint:
    """Asks a server; see the module."""

    def __init__(
        self, url: str, settings: Settings, together: int = 8, key: str = "", model: str = ""
    ) -> None:
        if not key.isascii() or not key.isprintable():
            raise UserError("--api-key: holds a line end or a letter that no key has", "copy the key anew")
        self.url = base(url)
        self.settings = settings
        self.together = together
        self._key = key
        self._pool = ThreadPoolExecutor(together)
        self._asked: dict[Future[Message], int] = {}
        self._answered = self._refused = 0
        self._broken: UserError | None = None
        self._stop = threading.Event()
        self._open: set[http.client.HTTPConnection] = set()
        self.model = model or self._first_model()

    @property
    def about(self) -> dict[str, Any]:
        """Who answers."""
        return {"endpoint": self.url, "model": self.model}

    def begin(self, number: int, ask: Ask) -> None:
        """Send a question."""
        self._asked[self._pool.submit(self.ask, ask)] = number

    def finished(self) -> list[tuple[int, Message | Refused]]:
        """Wait for an answer, and return those that are there; raise once there are no more."""
        if self._broken:
            raise self._broken
        done, _ = wait(self._asked, return_when=FIRST_COMPLETED)
        found: list[tuple[int, Message | Refused]] = []
        for future in done:
            number = self._asked.pop(future)
            try:
                found.append((number, future.result()))
                self._answered += 1
            except Refused as refused:
                self._refused += 1
                if not self._answered and self._refused >= AT_FIRST:
                    self._broken = UserError(refused.problem, refused.hint)
                found.append((number, refused))
            except UserError as error:
                self._broken = error
        if self._broken and not found:
            raise self._broken
        return found

    def close(self) -> None:
        """Ask nothing more, and wait for nothing that was asked."""
        self._stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        for connection in list(self._open):
            with contextlib.suppress(OSError, AttributeError):  # it may just be over
                connection.sock.shutdown(socket.SHUT_RDWR)

    def ask(self, ask: Ask) -> Message:
        """Return the answer to one question."""
        body: dict[str, Any] = {"model": self.model, "messages": ask.messages, **self.settings.as_body()}
        if ask.tools:
            body["tools"] = ask.tools
        try:
            told = self._json("POST", "/chat/completions", body)
        except Refused as refused:
            if "max_tokens" not in body or not any(
                word in refused.problem for word in ("max_tokens", "context", "maximum")
            ):
                raise
            del body["max_tokens"]
            told = self._json("POST", "/chat/completions", body)
        return message_of(told, self.url)

    def _first_model(self) -> str:
        told = self._json("GET", "/models")
        try:
            return str(told["data"][0]["id"])
        except (LookupError, TypeError):
            raise UserError(f"{self.url}/models: names no model", "--model NAME") from None

    def _json(self, method: str, path: str, body: Any = None) -> Any:
        """Return what the server answers, waiting while it is busy."""
        for attempt in range(TRIES):
            status, headers, text = self._request(method, path, body)
            if status not in BUSY or attempt == TRIES - 1:
                break
            if self._stop.wait(pause(headers.get("Retry-After"), attempt)):
                break
        return _checked(f"{self.url}{path}", status, text)

    def _request(self, method: str, path: str, body: Any) -> tuple[int, http.client.HTTPMessage, bytes]:
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=PATIENCE)
        headers = {"Content-Type": "application/json", "User-Agent": "danlu-eval"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        sent = None if body is None else json.dumps(body).encode()
        self._open.add(connection)
        try:
            connection.request(method, f"{parts.path}{path}", sent, headers)
            answer = connection.getresponse()
            return answer.status, answer.msg, answer.read()
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise UserError(
                f"{self.url}{path}: {reason.lower()}", f"is the server up? danlu health {self.url}"
            ) from None
        finally:
            self._open.discard(connection)
            connection.close()


def base(url: str) -> str:
    """Return the address that `/chat/completions` follows.

    >>> base("http://localhost:8000"), base("localhost:1/v1/"), base("https://a/b/v1/chat/completions")
    ('http://localhost:8000/v1', 'http://localhost:1/v1', 'https://a/b/v1')
    """
    whole = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(whole)
        port = parts.port
    except ValueError as error:
        raise UserError(f"--endpoint {url}: not an address: {error}", "http://localhost:8000") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise UserError(f"--endpoint {url}: not an http address", "http://localhost:8000")
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    return f"{parts.scheme}://{parts.netloc}{path or '/v1'}"


def pause(asked: str | None, attempt: int) -> float:
    """Return how long to wait before a busy server is asked again: as it says, within bounds."""
    if asked:
        try:
            seconds = float(asked)
        except ValueError:
            then = email.utils.parsedate_tz(asked)
            seconds = email.utils.mktime_tz(then) - time.time() if then else 1.0
        return min(max(seconds, 0.0), LONGEST_PAUSE)
    return float(min(0.5 * 2**attempt, LONGEST_PAUSE))


def _checked(url: str, status: int, text: bytes) -> Any:
    """Return the body of a good answer as JSON; put any other into words."""
    try:
        told = json.loads(text)
    except ValueError:
        told = None
    if status == 200 and told is not None:
        return told
    said = _said(told) or text.decode(errors="replace").strip()[:200] or "nothing more"
    problem = f"{url}: it answers {status}: {said}"
    if status in ONE_ALONE:
        raise Refused(problem, "the server's log tells more")
    hints = {
        200: "is this an OpenAI endpoint?",
        401: "--api-key KEY, or DANLU_API_KEY",
        403: "--api-key KEY, or DANLU_API_KEY",
        404: "--model NAME; /v1/models lists the names",
        429: "it stays busy: try later, or --concurrency 1",
    }
    raise UserError(problem, hints.get(status, "the server's log tells more"))


def _said(told: Any) -> str:
    """Return the message of an error in OpenAI's shape, or in one of its kin."""
    error = told.get("error", told) if isinstance(told, dict) else told
    found = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    return "" if found is None else " ".join(str(found).split())[:500]


def message_of(told: Any, url: str) -> Message:
    """Return the answer in a chat completion."""
    try:
        said: dict[str, Any] = told["choices"][0]["message"]
        calls: Sequence[dict[str, Any]] = said.get("tool_calls") or []
        made = [(call["function"]["name"], call["function"].get("arguments")) for call in calls]
        thought = said.get("reasoning_content") or said.get("reasoning")
        content, thoughts = _plain(said.get("content")), _plain(thought)
        return Message(content, thoughts, [Call(str(name), _text(given)) for name, given in made])
    except (LookupError, TypeError, AttributeError):
        raise UserError(
            f"{url}: the answer has no choices with a message: {json.dumps(told)[:200]}",
            "is this an OpenAI endpoint?",
        ) from None


def _plain(said: Any) -> str | None:
    """Return what was said as text that can be kept; some servers send it in parts."""
    if isinstance(said, list):
        said = "".join(part["text"] for part in said if part.get("type", "text") == "text")
    if not isinstance(said, str | None):
        raise TypeError("not a text")
    return said and said.encode(errors="replace").decode()


def _text(arguments: Any) -> str:
    """Return arguments as text; some servers send them as an object."""
    if isinstance(arguments, str):
        return arguments.encode(errors="backslashreplace").decode()
    return json_text({} if arguments is None else arguments)
