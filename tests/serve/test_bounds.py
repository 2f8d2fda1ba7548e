"""Every parameter at, below and above its bound: bounds are taken, what lies beyond is a 400 that says so."""

import pytest
from pydantic import ValidationError

from danlu.serve.schema import ChatRequest, CompletionRequest, DetokenizeRequest
from generate.models import TOKENIZER
from serve.plain import asked
from serve.servers import CONTEXT, messages, serving

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "boolean"}}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
LAST = TOKENIZER.size - 1


# name: (what is taken, what is refused)
BOTH = {
    "temperature": ([0, 0.0, 1, 2, None], [-0.01, 2.01, "1", True, 1e999]),
    "top_p": ([0.001, 1, 1.0], [0, -0.1, 1.001]),
    "top_k": ([-1, 0, 1, 2.0, 2**31 - 1], [-2, 2**31, 1.5]),
    "min_p": ([0, 1], [-0.1, 1.1]),
    "repetition_penalty": ([0.01, 2], [0, -1, 2.01]),
    "presence_penalty": ([-2, 2], [-2.01, 2.01]),
    "frequency_penalty": ([-2, 2], [-2.01, 2.01]),
    "logit_bias": (
        [{}, {"0": -100}, {str(LAST): 100}],
        [{"0": -100.1}, {"0": 100.1}, {str(LAST + 1): 1}, {"-1": 1}, {"a": 1}, {"²": 1}, [1]],
    ),
    "seed": ([-(2**63), 0, 2**63 - 1], [-(2**63) - 1, 2**63, 1.5, "1"]),
    "n": ([1, 2.0], [0, 0.5, -1, 129, 100]),
    "stop": ([[], "a", ["a"] * 16], ["", [""], ["a"] * 17, 5]),
    "stop_token_ids": ([[], [0], [LAST]], [[-1], [LAST + 1], [0] * 129]),
    "min_tokens": ([0, 1], [-1, 2]),
    "max_tokens": ([1, 1.0, 200], [0, 1.5, -1, CONTEXT, 2**31]),
    "ignore_eos": ([True, False, None], [1, "true"]),
    "skip_special_tokens": ([True, False], [0]),
    "stream": ([False, None], ["yes"]),
    "stream_options": ([None], [{"include_usage": True}, {"else": 1}]),
    "response_format": (
        [None, {"type": "text"}],
        [
            {"type": "xml"},
            {"type": "json_schema"},
            SCHEMA,
            {"type": "json_schema", "json_schema": {"name": "", "schema": {}}},
            {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nothing"}}},
        ],
    ),
    "structured_outputs": (
        [None],
        [
            {},
            {"json": {"type": "boolean"}, "json_object": True},
            {"regex": "a"},
            {"json": "{"},
            {"json": "[" * 99999},
        ],
    ),
    "model": ([None, "tiny"], ["", "other", 5]),
    "return_token_ids": ([True], ["x"]),
    "suffix": ([None, ""], ["x"]),
    "best_of": ([None, 1], [2]),
    "use_beam_search": ([False], [True]),
    "user": (["me", None], []),
    "metadata": ([{"a": "b"}], []),
    "extra_body": ([{}], [{"top_k": 1}]),
    "prompt_logprobs": ([None], [1]),
    "keep_alive": (["5m"], []),
    "temprature": ([], [1]),
}
OF_CHATS = {
    "messages": (
        [messages("a")],
        [None, [], "a", [{}], [{"role": "user"}], [{"role": "poet", "content": "a"}]],
    ),
    "top_logprobs": ([None, 0], [-1, 21, 1]),
    "logprobs": ([True, False], [3]),
    "max_completion_tokens": ([1], [0, -1, CONTEXT]),
    "tools": (
        [None, [], [TOOL]],
        [
            [{}],
            [{"type": "function", "function": {"name": ""}}],
            [{"type": "function", "function": {"name": "a b"}}],
            [{"type": "retrieval", "function": {"name": "f"}}],
            [TOOL, TOOL],
            {},
        ],
    ),
    "tool_choice": (["none", "auto", None], ["required", "maybe", {"type": "function", "function": {}}]),
    "parallel_tool_calls": ([True, False], ["no"]),
    "chat_template_kwargs": (
        [{}, {"enable_thinking": False}, {"anything": [1]}],
        [[], {"enable_thinking": "no"}, {"messages": []}, {"tools": []}],
    ),
    "enable_thinking": ([True, False], ["no"]),
    "thinking": ([None], [{"type": "disabled"}]),
    "reasoning_effort": (["none", "high"], ["enormous"]),
    "add_generation_prompt": ([True, False], [2]),
    "continue_final_message": ([False], [True]),
    "echo": ([False], [True]),
    "functions": ([None], [[TOOL]]),
    "audio": ([None], [{"voice": "x"}]),
}
OF_TEXTS = {
    "prompt": (
        ["a", ["a", "b"], [1, 2], [[1], [2]], "", [LAST]],
        [None, [], [[]], [LAST + 1], [-1], 5, [1, "a"], {"a": 1}, "word " * CONTEXT],
    ),
    "logprobs": ([0, 20], [-1, 21, True]),
    "echo": ([True, False], [1]),
    "add_special_tokens": ([True, False], ["x"]),
}


@pytest.fixture(scope="module")
def url():
    with serving(queue=16) as running:
        yield running.url


def table(taken: bool):
    return [
        pytest.param(path, name, value, id=f"{path[4:8]}-{name}-{str(value)[:30]}")
        for path, extra in ((CHAT, OF_CHATS), (TEXT, OF_TEXTS))
        for name, values in {**BOTH, **extra}.items()
        for value in values[0 if taken else 1]
    ]


def body(path, name, value):
    given = {"max_tokens": 1, "temperature": 0}
    given |= {"messages": messages("a")} if path == CHAT else {"prompt": "a"}
    return {**given, name: value}


@pytest.mark.parametrize(("path", "name", "value"), table(taken=True))
def test_a_bound_itself_is_taken(url, path, name, value):
    status, told, _ = asked(url + path, body(path, name, value))
    assert status == 200, told


@pytest.mark.parametrize(("path", "name", "value"), table(taken=False))
def test_what_lies_beyond_a_bound_is_refused_by_name(url, path, name, value):
    status, told, headers = asked(url + path, body(path, name, value))
    error = told["error"]
    assert status == (404 if name == "model" and isinstance(value, str) else 400), told
    assert error["type"] == "invalid_request_error" and headers["x-request-id"]
    # The message names the parameter, or another it does not go together with, and says what to do.
    assert name in error["message"] or error["param"] in (name, "messages", "max_tokens", "n"), error
    assert ";" in error["message"] or ":" in error["message"]


@pytest.mark.parametrize(
    ("path", "given", "says"),
    [
        ("/v1/embeddings", {}, "input: is missing"),
        ("/v1/embeddings", {"input": []}, "input"),
        ("/v1/embeddings", {"input": "word " * CONTEXT}, "more than the 512 of the context; shorten it by"),
        ("/v1/embeddings", {"input": "a", "dimensions": 65}, "dimensions: found 65; 1 to 64"),
        ("/v1/embeddings", {"input": "a", "dimensions": 0}, "dimensions"),
        ("/v1/embeddings", {"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ("/v1/embeddings", {"input": [LAST + 1]}, f"there is no token {LAST + 1}; tokens are 0 to {LAST}"),
        ("/tokenize", {}, "prompt: is missing"),
        ("/tokenize", {"prompt": 5}, "prompt"),
        ("/tokenize", {"messages": []}, "messages"),
        ("/tokenize", {"promt": "a", "prompt": "a"}, "did you mean 'prompt'?"),
        ("/detokenize", {"tokens": [LAST + 1]}, "there is no token"),
        ("/detokenize", {"tokens": "a"}, "tokens"),
        ("/tools/call", {"name": ""}, "name"),
        (
            "/tools/call",
            {"name": "get_time", "box": "sand"},
            "there is no box 'sand'; one of: classic, starter",
        ),
    ],
)
def test_other_endpoints_refuse_as_clearly(url, path, given, says):
    status, told, _ = asked(url + path, given)
    assert status == 400 and says in told["error"]["message"]


MANY = 100_000


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (ChatRequest, {"messages": [0] * MANY}),
        (ChatRequest, {"messages": [{"role": "user", "content": [0] * MANY}]}),
        (ChatRequest, {"messages": [{"role": "assistant", "tool_calls": [0] * MANY}]}),
        (ChatRequest, {"messages": messages("a"), "tools": [0] * MANY}),
        (ChatRequest, {"messages": messages("a"), "stop": [""] * MANY}),
        (ChatRequest, {"messages": messages("a"), "logit_bias": {str(n): "x" for n in range(MANY)}}),
        (ChatRequest, {"messages": messages("a"), **{f"name{n}": 1 for n in range(MANY)}}),
        (ChatRequest, {"messages": messages("a"), "stream_options": {f"n{n}": 1 for n in range(MANY)}}),
        (CompletionRequest, {"prompt": [0.5] * MANY}),
        (CompletionRequest, {"prompt": [[""] * MANY] * 2}),
        (DetokenizeRequest, {"tokens": [-1] * MANY}),
    ],
)
def test_much_that_is_wrong_is_not_kept(kind, given):
    with pytest.raises(ValidationError) as problem:
        kind.model_validate(given)
    assert problem.value.error_count() < 10


def test_a_prompt_too_long_is_told_by_how_much(url):
    def refused(**keys):
        given = {"messages": messages("word " * CONTEXT), **keys}
        status, told, _ = asked(url + CHAT, given)
        assert status == 400 and told["error"]["code"] == "context_length_exceeded"
        return told["error"]["message"]

    count = asked(f"{url}/tokenize", {"messages": messages("word " * CONTEXT)})[1]["count"]
    over = count + 1 - CONTEXT
    assert f"has {count} tokens" in refused() and f"shorten it by {over}" in refused()
    assert f"shorten it by {over + 6}, or lower max_tokens" in refused(max_tokens=7)
    assert "lower max_tokens to" in refused(messages=messages("a"), max_tokens=CONTEXT)
    status, told, _ = asked(f"{url}/v1/completions", {"prompt": "word " * CONTEXT})
    assert status == 400 and told["error"]["param"] == "prompt"


def test_the_longest_answer_that_fits_is_taken_and_one_token_more_is_not(url):
    count = asked(f"{url}/tokenize", {"messages": messages("a")})[1]["count"]
    given = {"messages": messages("a"), "stop_token_ids": list(range(128))}
    assert asked(url + CHAT, {**given, "max_tokens": CONTEXT - count})[0] == 200
    status, told, _ = asked(url + CHAT, {**given, "max_tokens": CONTEXT - count + 1})
    assert status == 400 and f"lower max_tokens to {CONTEXT - count}" in told["error"]["message"]


def test_a_text_near_the_end_of_the_context_is_continued_as_far_as_it_goes(url):
    status, told, _ = asked(url + TEXT, {"prompt": [5] * (CONTEXT - 3), "ignore_eos": True})
    assert status == 200 and told["usage"]["completion_tokens"] == 3
    assert told["choices"][0]["finish_reason"] == "length"
    assert asked(url + TEXT, {"prompt": [5] * (CONTEXT - 3), "max_tokens": 4})[0] == 400


def test_the_shortest_constrained_answer_is_taken_and_one_token_less_is_not(url):
    given = {"messages": messages("a"), "response_format": SCHEMA}
    status, told, _ = asked(url + CHAT, {**given, "max_tokens": 1})
    assert status == 400 and "the shortest answer that is asked for has" in told["error"]["message"]
    least = int(told["error"]["message"].split("asked for has ")[1].split(";")[0])
    assert asked(url + CHAT, {**given, "max_tokens": least - 1})[0] == 400
    status, told, _ = asked(url + CHAT, {**given, "max_tokens": least})
    assert status == 200 and told["choices"][0]["message"]["content"] in ("true", "false")
