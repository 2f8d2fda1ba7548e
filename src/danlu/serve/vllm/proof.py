"""A server proves itself: one chat and one tool call over HTTP, before anybody is told that it is there.

The tool call is demanded by name, so that grammar alone must produce it, whatever the model has learned;
then the same question is asked with the choice left to the model, and what it does is reported, not judged.
Weights without a chat template continue a text instead.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from danlu.base.errors import UserError
from danlu.generate.profile import Profile

PATIENCE = 300.0
"""Seconds one answer may take; the first may compile."""
WORDS = 24
CALL_WORDS = 160
QUESTION = "北京今天的天气怎么样？"
NAME, CITIES = "get_weather", ["北京", "上海"]
# A city out of two, strictly: an untrained model too must come to an end, and vLLM holds arguments to their
# schema only where that is asked for.
TOOL = {
    "type": "function",
    "function": {
        "name": NAME,
        "strict": True,
        "description": "查询城市天气 The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": CITIES}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


@dataclass(frozen=True)
class Api:
    """A server's address, model and key."""

    url: str
    model: str
    key: str = ""

    def healthy(self, seconds: float = 5.0) -> bool:
        """Return whether it answers that it is well."""
        try:
            return self.ask("GET", "/health", None, seconds)[0] < 400
        except (OSError, http.client.HTTPException):
            return False

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None, seconds: float) -> tuple[int, str]:
        """Return the status and the text of an answer; never through a proxy."""
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=seconds)
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        try:
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        finally:
            connection.close()

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return an answer, or say what came instead."""
        try:
            status, text = self.ask("POST", path, {"model": self.model, "temperature": 0, **body}, PATIENCE)
        except (OSError, http.client.HTTPException) as error:
            raise UserError(f"{path}: {type(error).__name__}: {error}", "danlu vllm logs") from None
        if status >= 400:
            raise UserError(f"{path}: it answers {status}: {text[:300]}", "danlu vllm logs")
        return dict(json.loads(text))


def prove(api: Api, profile: Profile) -> list[str]:
    """Ask a server for one chat and one tool call; return what it showed, or raise what it could not."""
    if not profile.chat_template:
        return [_continued(api)]
    shown = [_chat(api)]
    if not profile.tool_parser:
        return [*shown, "tools: its chat template knows none"]
    return [*shown, _demanded(api), _left_to_it(api)]


def _continued(api: Api) -> str:
    began = time.monotonic()
    answer = api.post("/v1/completions", {"prompt": QUESTION, "max_tokens": WORDS})
    return _spent("text", answer, began)


def _chat(api: Api) -> str:
    began = time.monotonic()
    answer = api.post(
        "/v1/chat/completions", {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": WORDS}
    )
    if answer["choices"][0]["message"]["role"] != "assistant":
        raise UserError(f"chat: it answers {str(answer)[:300]}", "danlu vllm logs")
    return _spent("chat", answer, began)


def _spent(what: str, answer: Mapping[str, Any], began: float) -> str:
    tokens = answer["usage"]["completion_tokens"]
    if tokens < 1:
        raise UserError(f"{what}: not a single token came", "danlu vllm logs")
    return f"{what}: {tokens} token{'s' * (tokens != 1)} in {time.monotonic() - began:.1f} s"


def _demanded(api: Api) -> str:
    message = _asked(api, {"type": "function", "function": {"name": NAME}})
    calls = message.get("tool_calls") or []
    told = calls[0]["function"] if calls else {}
    try:
        arguments = json.loads(told.get("arguments", ""))
    except ValueError:
        arguments = None
    if told.get("name") != NAME or not isinstance(arguments, dict) or arguments.get("city") not in CITIES:
        raise UserError(
            f"a tool call was demanded, and came as {json.dumps(message)[:300]}", "danlu vllm logs"
        )
    return f"tool call, demanded: {NAME}({told['arguments']})"


def _left_to_it(api: Api) -> str:
    message = _asked(api, "auto")
    for call in message.get("tool_calls") or []:
        return f"tool call, left to the model: {call['function']['name']}({call['function']['arguments']})"
    return "tool call, left to the model: it called none (a model not trained on tools does not)"


def _asked(api: Api, choice: Any) -> dict[str, Any]:
    body = {
        "messages": [{"role": "user", "content": QUESTION}],
        "tools": [TOOL],
        "tool_choice": choice,
        "max_tokens": CALL_WORDS,
    }
    if choice != "auto":  # where thoughts are told apart, grammar begins only after them: none, then
        body["chat_template_kwargs"] = {"enable_thinking": False}
    return dict(api.post("/v1/chat/completions", body)["choices"][0]["message"])
