"""Answers to chats: those of the engine, taken apart and put into OpenAI's shape."""

import base64
import json
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from danlu.generate.adapters import Adapters
from danlu.generate.engine import complete
from danlu.generate.sample import Sampling
from danlu.serve import asking
from danlu.serve.schema import Asking
from danlu.tokenizer.chat import encode_chat
from danlu.tokenizer.tokenizer import Tokenizer
from generate.models import TOKENIZER, tiny
from serve.adapters import made
from serve.plain import asked, events
from serve.servers import CONTEXT, MODEL, messages, served, serving

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
QUESTIONS = ["What is steel?", "钢是什么？", "Count to ten.", "hm", "Sing a song of the sea.", "1+1?"]


@pytest.fixture(scope="module")
def server():
    with serving(slots=4) as running:
        yield running


def prompt(*texts):
    return asking.asked(TOKENIZER, Asking(messages=messages(*texts))).ids


def chat(server, *texts, **keys):
    given = {"messages": messages(*texts), "temperature": 0, "max_tokens": 16, **keys}
    status, told, _ = asked(server.url + CHAT, given)
    assert status == 200, told
    return told


def chunks(server, *texts, **keys):
    given = {"messages": messages(*texts), "temperature": 0, "max_tokens": 16, "stream": True, **keys}
    lines = [line.removeprefix("data: ") for line in events(server.url + CHAT, given)]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def test_greedy_answers_are_those_of_the_engine_alone_and_together(server):
    greedy = Sampling(temperature=0.0, max_tokens=16)
    expected = [a.tokens for a in complete(MODEL, TOKENIZER, [prompt(q) for q in QUESTIONS], greedy)]

    def tokens(question):
        return chat(server, question, return_token_ids=True)["choices"][0]["token_ids"]

    assert [tokens(question) for question in QUESTIONS] == expected
    with ThreadPoolExecutor(len(QUESTIONS)) as together:
        assert list(together.map(tokens, QUESTIONS)) == expected


def test_the_prompt_that_was_read_can_be_seen(server):
    told = chat(server, "hi", return_token_ids=True)
    assert told["prompt_token_ids"] == prompt("hi")
    assert told["usage"]["prompt_tokens"] == len(prompt("hi"))
    first = chunks(server, "hi", return_token_ids=True)[0]
    assert first["prompt_token_ids"] == prompt("hi")


def test_what_was_read_before_is_told_as_cached(server):
    long = "word " * 100
    chat(server, long)
    usage = chat(server, long)["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] >= 64
    assert "danlu_reused_tokens_total" in asked(f"{server.url}/metrics")[1]


def test_a_prompt_of_several_answers_counts_once(server):
    usage = chat(server, "other words " * 50, n=4)["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] < usage["prompt_tokens"]
    usage = chat(server, "other words " * 50, n=4)["usage"]
    assert 64 <= usage["prompt_tokens_details"]["cached_tokens"] < usage["prompt_tokens"]


def test_pieces_of_a_text_carry_their_own_tokens(server):
    given = {"prompt": ["a", "b"], "n": 2, "temperature": 0, "max_tokens": 5, "return_token_ids": True}
    whole = asked(server.url + TEXT, given)[1]["choices"]
    lines = list(events(server.url + TEXT, {**given, "stream": True}))[:-1]
    pieces = [choice for line in lines for choice in json.loads(line[6:])["choices"]]
    for choice in whole:
        own = [piece for piece in pieces if piece["index"] == choice["index"]]
        assert [token for piece in own for token in piece["token_ids"]] == choice["token_ids"]
        told = [piece.get("prompt_token_ids") for piece in own]
        assert told[0] == choice["prompt_token_ids"] and not any(told[1:])


def test_stop_texts_and_tokens_are_told(server):
    free = chat(server, "hi", return_token_ids=True)["choices"][0]
    stop = free["message"]["content"][2:5]
    cut = chat(server, "hi", stop=stop)["choices"][0]
    assert (cut["finish_reason"], cut["stop_reason"]) == ("stop", stop)
    assert not cut["message"]["content"].count(stop)
    shown = chat(server, "hi", stop=stop, include_stop_str_in_output=True)["choices"][0]
    assert shown["message"]["content"] == cut["message"]["content"] + stop
    third = free["token_ids"][2]
    by_token = chat(server, "hi", stop_token_ids=[third])["choices"][0]
    assert (by_token["finish_reason"], by_token["stop_reason"]) == ("stop", third)


def test_the_bytes_of_the_tokens_are_the_bytes_of_the_answer(server):
    for question in QUESTIONS:
        choice = chat(server, question, logprobs=True)["choices"][0]
        spelled = b"".join(bytes(entry["bytes"]) for entry in choice["logprobs"]["content"])
        assert spelled.decode(errors="replace") == choice["message"]["content"]


def test_scores_are_those_of_the_model(server):
    ids = prompt("hi")
    choice = chat(server, "hi", logprobs=True, top_logprobs=5, max_tokens=1)["choices"][0]
    with torch.inference_mode():
        hidden = MODEL(torch.tensor([ids])).hidden[:, -1]
        scores = MODEL.logits(hidden)[0].float().log_softmax(-1)
    best = scores.topk(5)
    told = choice["logprobs"]["content"][0]["top_logprobs"]
    assert [entry["logprob"] for entry in told] == pytest.approx(best.values.tolist(), abs=1e-4)


def test_every_chunk_can_carry_the_usage(server):
    told = chunks(server, "hi", stream_options={"continuous_usage_stats": True, "include_usage": True})
    counts = [chunk["usage"]["completion_tokens"] for chunk in told if chunk.get("usage")]
    assert counts == sorted(counts) and counts[-1] <= 16
    assert "usage" not in chunks(server, "hi")[0]


def test_an_answer_that_must_be_json_is_json(server):
    for question in QUESTIONS[:3]:
        told = chat(server, question, response_format={"type": "json_object"}, max_tokens=40)
        assert isinstance(json.loads(told["choices"][0]["message"]["content"]), dict)
    vllm = chat(server, "hi", structured_outputs={"json": {"enum": ["yes", "no"]}})
    assert json.loads(vllm["choices"][0]["message"]["content"]) in ("yes", "no")


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {"x": {"type": "boolean"}},
                "required": ["x"],
                "additionalProperties": False,
            },
        },
    }
    for name in ("left", "right")
]


def test_a_single_call_where_no_more_are_wanted(server):
    for question in QUESTIONS:
        told = chat(
            server, question, tools=TOOLS, tool_choice="required", parallel_tool_calls=False,
            max_tokens=120, temperature=1.5, seed=1,
        )["choices"][0]  # fmt: skip
        (call,) = told["message"]["tool_calls"]
        assert told["finish_reason"] == "tool_calls" and told["message"]["content"] is None
        assert isinstance(json.loads(call["function"]["arguments"])["x"], bool)


def test_a_named_tool_is_called_once_and_the_answer_ends(server):
    named = {"type": "function", "function": {"name": TOOLS[0]["function"]["name"]}}
    keys = {"tools": TOOLS, "tool_choice": named, "max_tokens": 300, "temperature": 1.5, "seed": 1}
    for question in QUESTIONS:
        free, single = (
            chat(server, question, **keys, **more) for more in ({}, {"parallel_tool_calls": False})
        )
        assert len(free["choices"][0]["message"]["tool_calls"]) == 1
        used, least = (told["usage"]["completion_tokens"] for told in (free, single))
        assert used == least < 100


def test_an_answer_that_may_be_a_call_or_json_is_one_of_them(server):
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "boolean"}}}
    kinds = set()
    for seed in range(12):
        told = chat(
            server, "hi", tools=TOOLS, response_format=form, max_tokens=60, temperature=2.0, seed=seed,
            enable_thinking=False,
        )["choices"][0]  # fmt: skip
        message = told["message"]
        if "tool_calls" in message:
            assert all(
                json.loads(call["function"]["arguments"]) is not None for call in message["tool_calls"]
            )
        else:
            assert isinstance(json.loads(message["content"]), bool)
        kinds.add(told["finish_reason"])
    assert kinds == {"stop", "tool_calls"}


def test_call_ids_differ_over_requests_and_calls(server):
    ids = [
        call["id"]
        for seed in range(4)
        for choice in chat(
            server, "hi", tools=TOOLS, tool_choice="required", n=2, max_tokens=120, temperature=1.0, seed=seed
        )["choices"]
        for call in choice["message"]["tool_calls"]
    ]
    assert len(set(ids)) == len(ids) >= 8


def test_a_tool_is_shown_to_the_model_as_training_shows_it(server):
    odd = {"function": {"parameters": {"type": "object", "x-own": 1}, "name": "f"}, "type": "function"}
    told = chat(server, "hi", tools=[odd], return_token_ids=True)
    expected = encode_chat(TOKENIZER, messages("hi"), [odd], add_generation_prompt=True).ids
    assert told["prompt_token_ids"] == expected


NARROW = [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}]


@pytest.mark.parametrize("narrow", NARROW, ids=lambda keys: next(iter(keys)))
def test_where_only_the_likeliest_is_left_chance_has_no_say(server, narrow):
    def said(**keys):
        return chat(server, "hi", max_tokens=24, ignore_eos=True, return_token_ids=True, **keys)["choices"]

    greedy = said(temperature=0)[0]["token_ids"]
    free = [each["token_ids"] for each in said(temperature=2.0, seed=1, n=3)]
    assert greedy not in free
    assert [each["token_ids"] for each in said(temperature=2.0, seed=1, n=3, **narrow)] == [greedy] * 3


@pytest.mark.parametrize("name", ["presence_penalty", "frequency_penalty", "repetition_penalty"])
def test_what_was_said_is_said_less_where_that_costs(server, name):
    def distinct(**keys):
        told = chat(
            server, "hi", max_tokens=60, temperature=0, ignore_eos=True, return_token_ids=True, **keys
        )
        return len(set(told["choices"][0]["token_ids"]))

    assert distinct(**{name: 2.0}) > distinct()


def test_seeds_of_several_answers_follow_each_other(server):
    several = chat(server, "hi", temperature=1.0, seed=7, n=3)["choices"]
    alone = [chat(server, "hi", temperature=1.0, seed=seed)["choices"][0] for seed in (7, 8, 9)]
    assert [c["message"]["content"] for c in several] == [c["message"]["content"] for c in alone]


def test_control_tokens_are_hidden_unless_asked_for(server):
    bias = {str(TOKENIZER.token_id("<|im_start|>")): 100}
    assert chat(server, "hi", logit_bias=bias, max_tokens=2)["choices"][0]["message"]["content"] == ""
    shown = chat(server, "hi", logit_bias=bias, max_tokens=2, skip_special_tokens=False)["choices"][0]
    assert shown["message"]["content"] == "<|im_start|>" * 2


def test_embeddings_are_the_last_hidden_state_of_length_one(server):
    texts = ["steel", "", "钢是铁和碳的合金。"]
    status, told, _ = asked(f"{server.url}/v1/embeddings", {"input": texts})
    assert status == 200 and [entry["index"] for entry in told["data"]] == [0, 1, 2]
    for entry, text in zip(told["data"], texts):
        ids = TOKENIZER.beginning() + TOKENIZER.encode(text)
        with torch.inference_mode():
            hidden = MODEL(torch.tensor([ids])).hidden[0, -1].float()
        expected = hidden / hidden.norm()
        assert torch.allclose(torch.tensor(entry["embedding"]), expected, atol=1e-5)
    packed = asked(f"{server.url}/v1/embeddings", {"input": texts, "encoding_format": "base64"})[1]
    raw = base64.b64decode(packed["data"][2]["embedding"])
    assert struct.unpack("<64f", raw) == pytest.approx(told["data"][2]["embedding"], abs=1e-6)


def test_shorter_embeddings_have_length_one_too(server):
    whole, short = (
        asked(f"{server.url}/v1/embeddings", {"input": "steel", **keys})[1]["data"][0]["embedding"]
        for keys in ({}, {"dimensions": 8})
    )
    assert len(short) == 8 and sum(x * x for x in short) == pytest.approx(1)
    scale = short[0] / whole[0]
    assert short == pytest.approx([x * scale for x in whole[:8]], abs=1e-5)


def test_embeddings_are_made_beside_answers(server):
    lines = events(
        server.url + CHAT,
        {"messages": messages("hi"), "max_tokens": CONTEXT // 2, "ignore_eos": True, "stream": True},
    )
    next(lines)
    many = asked(f"{server.url}/v1/embeddings", {"input": ["a b c"] * 40})[1]
    assert len(many["data"]) == 40
    assert list(lines)[-1] == "data: [DONE]"


def test_tokens_come_as_text_too(server):
    told = asked(f"{server.url}/tokenize", {"prompt": "hi<|im_end|>", "return_token_strs": True})[1]
    assert told["token_strs"][-1] == "<|im_end|>" and len(told["token_strs"]) == told["count"]
    back = asked(f"{server.url}/detokenize", {"tokens": told["tokens"]})[1]["prompt"]
    assert back == "<|im_start|>hi<|im_end|>"


def test_the_server_tells_of_its_models(server):
    assert asked(f"{server.url}/v1/models/tiny")[1]["id"] == "tiny"
    status, told, _ = asked(f"{server.url}/v1/models/tinny")
    assert (
        status == 404 and told["error"]["message"] == "there is no model 'tinny' here; did you mean 'tiny'?"
    )


def test_the_server_runs_safe_tools(server):
    told = asked(f"{server.url}/tools")[1]
    names = {tool["function"]["name"] for tool in told["tools"]}
    assert {"get_weather", "calculate", "search", "get_time"} <= names and set(told["boxes"]) == {
        "classic",
        "starter",
    }

    def call(**body):
        status, told, _ = asked(f"{server.url}/tools/call", body)
        assert status == 200
        return json.loads(told["result"])

    assert call(name="calculate", arguments={"expression": "6 * 7"}) == {"result": "42"}
    assert call(name="convert_unit", arguments='{"value": "350 km", "to": "m"}') == {"result": "350000 m"}
    assert "error" in call(name="nothing") and "error" in call(name="calculate", arguments="{")
    assert "error" in call(name="get_weather", arguments={"city": "北京"}, box="starter")
    cases = asked(f"{server.url}/tools/cases")[1]["cases"]
    assert len(cases) >= 200 and all(case["questions"] for case in cases)


def test_a_model_under_another_name_is_an_adapter(tmp_path):
    """Each name has its own answers, alone and beside the others."""
    model = tiny(max_position_embeddings=CONTEXT)
    beside = Adapters(model)
    for seed, name in enumerate(("poet", "judge")):
        beside.load(name, made(model, tmp_path / name, seed))
    what = served(model, adapters=beside)
    with serving(what, slots=4) as running:

        def tokens(name):
            told = chat(running, "hi", model=name, return_token_ids=True)
            assert told["model"] == name
            return told["choices"][0]["token_ids"]

        names = ["tiny", "poet", "judge"]
        alone = [tokens(name) for name in names]
        assert alone[0] != alone[1] != alone[2] != alone[0]
        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(tokens, names * 2)) == alone * 2
        listed = asked(f"{running.url}/v1/models")[1]["data"]
        assert [(card["id"], card["parent"]) for card in listed] == [
            ("tiny", None),
            ("poet", "tiny"),
            ("judge", "tiny"),
        ]
        status, told, _ = asked(running.url + CHAT, {"messages": messages("hi"), "model": "poets"})
        assert status == 404 and "did you mean 'poet'?" in told["error"]["message"]


OPENS = "{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}"
OPENS += "{% if add_generation_prompt %}{{ '<think>\\n' }}{% endif %}"
CLOSES = "{% if enable_thinking is defined and not enable_thinking %}{{ '\\n</think>\\n\\n' }}{% endif %}"


def test_where_the_prompt_closes_the_thought_all_is_answer():
    thinker = Tokenizer(TOKENIZER._json, TOKENIZER.settings, OPENS + CLOSES)
    yes_or_no = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "boolean"}}}
    with serving(served(tokenizer=thinker)) as running:
        assert running.house.served.profile.reasoning_parser == "deepseek_r1"
        for stated in ({"response_format": yes_or_no}, {}):
            told = chat(running, "hi", enable_thinking=False, max_tokens=30, **stated)
            message = told["choices"][0]["message"]
            assert message["content"] and not message.get("reasoning_content")


def test_thoughts_are_told_apart_from_the_answer_whole_and_streamed():
    """An untrained model thinks at random; that it must answer in JSON makes it come to an end."""
    thinker = Tokenizer(TOKENIZER._json, TOKENIZER.settings, OPENS)
    yes_or_no = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "boolean"}}}
    with serving(served(tokenizer=thinker)) as running:
        assert running.house.served.profile.reasoning_parser == "deepseek_r1"
        keys = {"response_format": yes_or_no, "max_tokens": 30}
        message = chat(running, "hi", **keys)["choices"][0]["message"]
        assert message["content"] in ("true", "false") and message["reasoning_content"]
        deltas = [c["choices"][0]["delta"] for c in chunks(running, "hi", **keys)]
        for name in ("content", "reasoning_content"):
            assert "".join(delta.get(name) or "" for delta in deltas) == message[name]
        silent = chat(running, "hi", **keys, include_reasoning=False)["choices"][0]["message"]
        assert silent["content"] == message["content"] and "reasoning_content" not in silent
