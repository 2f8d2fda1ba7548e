"""What the official `openai` client may expect of a server, whichever it is: one suite for ours and for vLLM.

A module that has a fixture `server` (a `Server`) runs all of it by

    from serve.client_suite import *

The model may be untrained, so nothing here depends on what it says, only on how. It is asked not to think: an
untrained one would never come to an end of it. Tools are strict, for vLLM holds only those to their schema.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import openai
import pytest

from serve.plain import asked, events


@dataclass(frozen=True)
class Server:
    """A server under test."""

    url: str
    """Without /v1."""
    model: str
    context: int


ASKED: list[Any] = [{"role": "user", "content": "Write about the sea."}]
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "strict": True,
            "description": f"Tells the {name} of a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "enum": ["Paris", "上海"]}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
    for name in ("weather", "time")
]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"answer": {"type": "boolean"}, "grade": {"enum": ["a", "b", "c"]}},
    "required": ["answer", "grade"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def client(server: Server) -> Any:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=300) as client:
        yield client


def greedy(server: Server, extra: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    beyond = {"chat_template_kwargs": {"enable_thinking": False}, **(extra or {})}
    words = {"model": server.model, "messages": ASKED, "temperature": 0, "max_tokens": 12, **keys}
    return {**words, "extra_body": beyond}


def text_of(chunks: list[Any], number: int = 0) -> str:
    return "".join(
        choice.delta.content or "" for chunk in chunks for choice in chunk.choices if choice.index == number
    )


def test_models_are_listed(client, server):
    listed = client.models.list().data
    assert [model.id for model in listed] == [server.model]
    assert listed[0].object == "model" and listed[0].max_model_len == server.context


def test_a_chat_is_answered(client, server):
    answer = client.chat.completions.create(**greedy(server))
    choice = answer.choices[0]
    assert answer.object == "chat.completion" and answer.model == server.model and answer.id
    assert choice.message.role == "assistant" and isinstance(choice.message.content, str)
    assert choice.finish_reason in ("stop", "length") and not choice.message.tool_calls
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert 1 <= usage.completion_tokens <= 12


def test_a_stream_says_what_the_whole_answer_says(client, server):
    whole = client.chat.completions.create(**greedy(server))
    chunks = list(
        client.chat.completions.create(**greedy(server), stream=True, stream_options={"include_usage": True})
    )
    assert text_of(chunks) == (whole.choices[0].message.content or "")
    assert {chunk.id for chunk in chunks} == {chunks[0].id} and chunks[0].id != whole.id
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[0].choices[0].delta.role == "assistant"
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert reasons == [whole.choices[0].finish_reason]
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens == whole.usage.total_tokens
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_a_stream_ends_with_done(server):
    body = greedy(server, stream=True)
    body |= body.pop("extra_body")
    lines = list(events(f"{server.url}/v1/chat/completions", body))
    assert lines[-1] == "data: [DONE]"
    assert all(json.loads(line.removeprefix("data: ")) for line in lines[:-1])


def test_the_asynchronous_client_is_answered_too(server):
    async def ask() -> tuple[Any, list[Any]]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", timeout=300) as client:
            whole, stream = await asyncio.gather(
                client.chat.completions.create(**greedy(server)),
                client.chat.completions.create(**greedy(server), stream=True),
            )
            return whole, [chunk async for chunk in stream]

    whole, chunks = asyncio.run(ask())
    assert text_of(chunks) == (whole.choices[0].message.content or "")


def test_several_answers_at_once(client, server):
    keys = greedy(server, temperature=1.0, seed=5, n=3)
    first, again = (client.chat.completions.create(**keys) for _ in range(2))
    texts = [choice.message.content for choice in first.choices]
    assert [choice.index for choice in first.choices] == [0, 1, 2] and len(set(texts)) > 1
    assert texts == [choice.message.content for choice in again.choices]
    chunks = list(client.chat.completions.create(**keys, stream=True))
    assert [text_of(chunks, number) for number in range(3)] == texts


def test_seeds_repeat_and_differ(client, server):
    def said(seed: int) -> Any:
        keys = greedy(server, temperature=1.0, seed=seed)
        return client.chat.completions.create(**keys).choices[0].message.content

    assert said(1) == said(1) and len({said(seed) for seed in range(1, 5)}) > 1


def test_a_stop_text_ends_the_answer_and_is_no_part_of_it(client, server):
    free = client.completions.create(**raw(server)).choices[0].text
    stop = free[4:7]
    cut = client.completions.create(**raw(server, stop=[stop])).choices[0]
    assert cut.text == free[: free.index(stop)] and cut.finish_reason == "stop"


def test_tokens_may_be_forbidden_and_demanded(client, server):
    keys = greedy(server, max_tokens=3, logprobs=True)
    wanted = tokens(server, prompt="a")[-1]
    answer = client.chat.completions.create(**keys, logit_bias={str(wanted): 100})
    assert {entry.token for entry in answer.choices[0].logprobs.content} == {"a"}


def test_scores_are_told_of_every_token(client, server):
    answer = client.chat.completions.create(**greedy(server, logprobs=True, top_logprobs=3))
    content = answer.choices[0].logprobs.content
    assert len(content) == answer.usage.completion_tokens
    for entry in content:
        assert entry.logprob <= 0 and len(entry.top_logprobs) == 3
        assert entry.top_logprobs[0].logprob == pytest.approx(entry.logprob, abs=1e-3)
        scores = [other.logprob for other in entry.top_logprobs]
        assert scores == sorted(scores, reverse=True)
    chunks = client.chat.completions.create(**greedy(server, logprobs=True, top_logprobs=3), stream=True)
    streamed = [
        entry
        for chunk in chunks
        for choice in chunk.choices
        if choice.logprobs
        for entry in choice.logprobs.content
    ]
    assert [entry.token for entry in streamed] == [entry.token for entry in content]


def test_the_answer_is_as_long_as_it_may_be(client, server):
    for name in ("max_tokens", "max_completion_tokens"):
        keys = greedy(server, {"ignore_eos": True})
        del keys["max_tokens"]
        answer = client.chat.completions.create(**keys, **{name: 5})
        assert answer.usage.completion_tokens == 5 and answer.choices[0].finish_reason == "length"


def test_an_answer_has_as_many_tokens_as_it_must(client, server):
    answer = client.chat.completions.create(**greedy(server, {"min_tokens": 6}, max_tokens=6))
    assert answer.usage.completion_tokens == 6


def test_content_may_come_in_parts_and_from_a_developer(client, server):
    parts = [{"type": "text", "text": "Write about the sea."}]
    plain, other = (
        client.chat.completions.create(**greedy(server, messages=[{"role": "user", "content": content}]))
        for content in (parts[0]["text"], parts)
    )
    assert plain.choices[0].message.content == other.choices[0].message.content
    assert plain.usage.prompt_tokens == other.usage.prompt_tokens


def raw(server: Server, **keys: Any) -> dict[str, Any]:
    return {"model": server.model, "prompt": "Once upon a time", "temperature": 0, "max_tokens": 12, **keys}


def test_a_text_is_continued(client, server):
    answer = client.completions.create(**raw(server))
    assert answer.object == "text_completion" and answer.choices[0].text
    chunks = list(client.completions.create(**raw(server), stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == answer.choices[0].text


def test_several_texts_and_tokens_are_continued(client, server):
    texts = ["Once upon a time", "大海"]
    alone = [client.completions.create(**raw(server, prompt=text)).choices[0].text for text in texts]
    together = client.completions.create(**raw(server, prompt=texts))
    assert [choice.text for choice in together.choices] == alone
    ids = [tokens(server, prompt=text) for text in texts]
    assert [choice.text for choice in client.completions.create(**raw(server, prompt=ids)).choices] == alone
    assert client.completions.create(**raw(server, prompt=ids[0])).choices[0].text == alone[0]


def test_a_text_may_be_echoed_with_its_scores(client, server):
    free = client.completions.create(**raw(server)).choices[0].text
    answer = client.completions.create(**raw(server, echo=True, logprobs=1)).choices[0]
    assert answer.text == "Once upon a time" + free
    scores = answer.logprobs
    assert scores.token_logprobs[0] is None and all(score <= 0 for score in scores.token_logprobs[1:])
    assert len(scores.tokens) == len(scores.token_logprobs) == len(scores.top_logprobs)


def tokens(server: Server, **body: Any) -> list[int]:
    status, told, _ = asked(f"{server.url}/tokenize", {"model": server.model, **body})
    assert status == 200, told
    assert told["count"] == len(told["tokens"]) and told["max_model_len"] == server.context
    return list(told["tokens"])


def test_texts_and_chats_become_tokens_and_come_back(server):
    ids = tokens(server, prompt="大海 and 🌊", add_special_tokens=False)
    _, back, _ = asked(f"{server.url}/detokenize", {"model": server.model, "tokens": ids})
    assert back["prompt"] == "大海 and 🌊"
    chat = tokens(server, messages=ASKED)
    assert len(chat) > len(tokens(server, messages=ASKED, add_generation_prompt=False))


def test_where_none_may_be_called_the_model_is_told_of_none(client, server):
    asked_of, none = greedy(server, max_tokens=1), {"tools": TOOLS, "tool_choice": "none"}
    plain, silent, told = (
        client.chat.completions.create(**asked_of, **more).usage.prompt_tokens
        for more in ({}, none, {"tools": TOOLS})
    )
    assert plain == silent < told


def test_a_tool_that_must_be_called_is_called(client, server):
    keys = greedy(server, tools=TOOLS, max_tokens=200)
    for choice, names in (
        ("required", {"weather", "time"}),
        ({"type": "function", "function": {"name": "time"}}, {"time"}),
    ):
        answer = client.chat.completions.create(**keys, tool_choice=choice)
        calls = answer.choices[0].message.tool_calls
        assert calls and {call.function.name for call in calls} <= names
        assert all(json.loads(call.function.arguments)["city"] in ("Paris", "上海") for call in calls)
        assert all(call.type == "function" and call.id for call in calls)
        assert len({call.id for call in calls}) == len(calls)


def test_calls_are_streamed(client, server):
    keys = greedy(server, tools=TOOLS, max_tokens=200, tool_choice="required")
    whole = client.chat.completions.create(**keys)
    calls: dict[int, dict[str, str]] = {}
    reasons = set()
    for chunk in client.chat.completions.create(**keys, stream=True):
        reasons |= {choice.finish_reason for choice in chunk.choices}
        for call in chunk.choices[0].delta.tool_calls or [] if chunk.choices else []:
            entry = calls.setdefault(call.index, {"id": "", "name": "", "arguments": ""})
            entry["id"] += call.id or ""
            entry["name"] += call.function.name or ""
            entry["arguments"] += call.function.arguments or ""
    told = [(call["name"], json.loads(call["arguments"])) for call in calls.values()]
    expected = whole.choices[0].message.tool_calls
    assert told == [(call.function.name, json.loads(call.function.arguments)) for call in expected]
    assert all(call["id"] for call in calls.values()) and "tool_calls" in reasons
    assert whole.choices[0].finish_reason == "tool_calls"


def test_tools_and_their_results_may_stand_in_the_history(client, server):
    called = {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "time", "arguments": '{"city": "Paris"}'},
            }
        ],
    }
    history = [*ASKED, called, {"role": "tool", "tool_call_id": "call_1", "content": "12:00"}]
    answer = client.chat.completions.create(**greedy(server, messages=history, tools=TOOLS))
    assert answer.usage.prompt_tokens > len(tokens(server, messages=ASKED))


def test_json_of_a_schema(client, server):
    form = {"type": "json_schema", "json_schema": {"name": "grade", "schema": SCHEMA, "strict": True}}
    answer = client.chat.completions.create(**greedy(server, response_format=form, max_tokens=100))
    told = json.loads(answer.choices[0].message.content)
    assert isinstance(told["answer"], bool) and told["grade"] in ("a", "b", "c") and len(told) == 2


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"model": "nobody"}, openai.NotFoundError),
        ({"temperature": -1}, openai.BadRequestError),
        ({"top_p": 1.5}, openai.BadRequestError),
        ({"max_tokens": 0}, openai.BadRequestError),
        ({"messages": []}, openai.BadRequestError),
        ({"messages": [{"role": "user", "content": "word " * 5000}]}, openai.BadRequestError),
        ({"tool_choice": "required"}, openai.BadRequestError),
        ({"stream_options": {"include_usage": True}}, openai.BadRequestError),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(client, server, keys, problem):
    with pytest.raises(problem) as refused:
        client.chat.completions.create(**greedy(server, **keys))
    assert refused.value.body["message"]


def test_a_request_after_a_refused_one_is_answered(client, server):
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(**greedy(server, temperature=9))
    assert client.chat.completions.create(**greedy(server)).choices


def test_health_and_metrics(server):
    assert asked(f"{server.url}/health")[0] == 200
    assert "# TYPE" in asked(f"{server.url}/metrics")[1]
