"""Servers that are busy, refuse, break, or speak otherwise; and what a talk tells one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time

import pytest
from click.testing import CliRunner

from danlu.base.errors import UserError
from danlu.eval import command
from danlu.evaluate.tools import cases, ready
from danlu.evaluate.tools.endpoint import Endpoint, base, message_of, pause
from danlu.evaluate.tools.settings import Settings
from danlu.evaluate.tools.talk import Ask, Refused, answer
from danlu.tools.parse import Call, Message
from evaluate.scripted import Body, Reply, Scripted, asked, calls, says, since
from shell import ROOT

HELLO = Ask([{"role": "user", "content": "hello"}], None)
NOTHING = (0, {}, {})
"""The connection is closed without an answer."""


def run(*words: str):
    return CliRunner().invoke(command, ["tools", *words])


def wrong(*words: str) -> UserError:
    error = run(*words).exception
    assert isinstance(error, UserError), error
    return error


def in_turn(*replies: Reply):
    """Say one after the other, the last one again and again."""
    left = list(replies)
    return lambda body: left.pop(0) if len(left) > 1 else left[0]


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_as_it_says(status):
    busy = (status, {"Retry-After": "0"}, {"error": {"message": "busy"}})
    with Scripted(in_turn(busy, busy, says("hi"))) as server:
        assert Endpoint(server.url, Settings()).ask(HELLO) == Message("hi")
        assert len(server.bodies) == 3


def test_a_server_that_stays_busy_is_given_up():
    busy = (429, {"Retry-After": "0"}, {"error": {"message": "busy"}})
    with Scripted(lambda body: busy) as server:
        with pytest.raises(UserError, match="answers 429: busy") as error:
            Endpoint(server.url, Settings()).ask(HELLO)
    assert "--concurrency 1" in error.value.hint


def test_a_pause_is_what_the_server_says_within_bounds():
    assert pause("3", 0) == 3 and pause("1e9", 0) == 30 and pause("-1", 0) == 0
    soon = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 10))
    assert 5 < pause(soon, 0) < 12
    assert [pause(None, attempt) for attempt in (0, 1, 20)] == [0.5, 1, 30]


def test_a_prompt_too_long_is_one_case_lost_and_the_others_go_on(tmp_path):
    out = tmp_path / "report.json"
    too_long = (400, {}, {"error": {"message": "the prompt has 9 tokens too many"}})

    def reply(body: Body) -> Reply:
        return too_long if asked(body) == "你好，请介绍一下你自己。" else says("no")

    with Scripted(reply) as server:
        done = run("--endpoint", server.url, "--cases", str(ready.CLASSIC), "--out", str(out))
        assert done.exit_code == 0, done.exception
    told = json.loads(out.read_text())
    assert told["complete"] and [case["id"] for case in told["cases"] if "refused" in case] == [
        "classic-chat"
    ]
    assert told["metrics"]["all"]["no_call"] == {"part": 0, "of": 1, "value": 0.0}
    assert "1 cases were not answered to the end" in done.stdout and "9 tokens too many" in done.stdout


def test_a_server_that_refuses_from_the_first_says_why():
    refusal = (400, {}, {"object": "error", "message": "tool choice needs --enable-auto-tool-choice"})
    with Scripted(lambda body: refusal) as server:
        error = wrong("--endpoint", server.url)
        few = wrong("--endpoint", server.url, "--cases", str(ready.CLASSIC), "--limit", "2")
    assert "answers 400: tool choice needs --enable-auto-tool-choice" in error.problem
    assert "tool choice needs" in few.problem and "2 of 2 cases were played" in few.problem


def test_what_was_played_is_in_the_report_when_the_server_breaks(tmp_path):
    out = tmp_path / "report.json"
    replies = iter([says("no")] * 3)

    with Scripted(lambda body: next(replies, NOTHING)) as server:
        error = wrong("--endpoint", server.url, "--concurrency", "1", "--out", str(out))
    assert "3 of 246 cases were played; they are in" in error.problem and "danlu health" in error.hint
    told = json.loads(out.read_text())
    assert not told["complete"] and len(told["cases"]) == 3 and told["problem"] in error.problem
    assert told["metrics"]["all"]["detection"]["of"] == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_was_played_is_in_the_report_when_it_is_ended_and_nothing_is_waited_for(tmp_path, number):
    out = tmp_path / "report.json"
    replies = iter([says("no")] * 2)
    stuck, over = threading.Event(), threading.Event()

    def reply(body: Body) -> Reply:
        if (said := next(replies, None)) is not None:
            return said
        stuck.set()
        over.wait(60)
        return says("too late")

    with Scripted(reply) as server:
        words = ["--endpoint", server.url, "--concurrency", "1", "--out", str(out)]
        with subprocess.Popen([sys.executable, "-m", "danlu", "eval", "tools", *words], cwd=ROOT) as process:
            assert stuck.wait(60)
            process.send_signal(number)
            try:
                assert process.wait(30) == 130
            finally:
                process.kill()
        over.set()
    told = json.loads(out.read_text())
    assert not told["complete"] and len(told["cases"]) == 2 and told["problem"] == "stopped"


def test_nobody_there_is_two_lines():
    with Scripted(lambda body: says("no")) as server:
        url = server.url
    assert "connection refused" in wrong("--endpoint", url).problem


@pytest.mark.parametrize(
    ("status", "body", "problem", "hint"),
    [
        (401, {"error": {"message": "bad key"}}, "answers 401: bad key", "--api-key"),
        (404, {"detail": "no such model"}, "answers 404: no such model", "--model"),
        (500, b"oops", "answers 500: oops", "log"),
        (200, b"<html>", "answers 200: <html>", "OpenAI"),
        (200, {"choices": []}, "no choices", "OpenAI"),
        (200, {"choices": [{"message": {"content": 5}}]}, "no choices", "OpenAI"),
    ],
)
def test_an_answer_that_is_none_ends_in_words(status, body, problem, hint):
    with Scripted(lambda _: (status, {}, body)) as server:
        with pytest.raises(UserError, match=problem) as error:
            Endpoint(server.url, Settings()).ask(HELLO)
    assert hint in error.value.hint and not isinstance(error.value, Refused)


def test_a_context_that_max_tokens_does_not_fit_is_filled_as_far_as_it_goes():
    full = (400, {}, {"error": {"message": "maximum context length is 512 tokens"}})

    with Scripted(lambda body: full if "max_tokens" in body else says("hi")) as server:
        assert Endpoint(server.url, Settings(max_tokens=512)).ask(HELLO).content == "hi"
        assert [body.get("max_tokens") for body in server.bodies] == [512, None]


def test_a_request_says_model_settings_tools_and_key():
    tools = [{"type": "function", "function": {"name": "f"}}]
    with Scripted(lambda body: says("hi")) as server:
        Endpoint(server.url, Settings(0.5, 7), key="secret").ask(Ask(HELLO.messages, tools))
        Endpoint(server.url, Settings(), model="mine").ask(HELLO)
    first, second = server.bodies
    assert first == {
        "model": "scripted",
        "messages": HELLO.messages,
        "temperature": 0.5,
        "max_tokens": 7,
        "seed": 0,
        "tools": tools,
    }
    assert second["model"] == "mine" and "tools" not in second
    assert server.headers[0]["Authorization"] == "Bearer secret" and "Authorization" not in server.headers[1]


def test_an_answer_is_read_as_openai_vllm_and_others_write_it():
    def read(**message):
        return message_of({"choices": [{"message": message}]}, "")

    assert read(content="a", reasoning_content="b") == Message("a", "b")
    assert read(content=None, reasoning="b", tool_calls=None) == Message(None, "b")
    call = {"function": {"name": "f", "arguments": {"x": "北京"}}}
    assert read(content="", tool_calls=[call]).calls == [Call("f", '{"x": "北京"}')]
    assert read(content="", tool_calls=[{"function": {"name": "f"}}]).calls == [Call("f", "{}")]
    parts = [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}]
    assert read(content=parts) == Message("ab")
    half = {"function": {"name": "f", "arguments": '{"x": "\ud83d"}'}}
    assert read(content=None, tool_calls=[half]).calls == [Call("f", r'{"x": "\ud83d"}')]


def test_half_a_character_is_no_reason_to_lose_a_report(tmp_path):
    path, out = tmp_path / "cases.jsonl", tmp_path / "report.json"
    path.write_text(case())
    with Scripted(lambda body: says("half \ud83d")) as server:
        done = run("--endpoint", server.url, "--cases", str(path), "--out", str(out))
        assert done.exit_code == 0, done.exception
    said = [each["content"] for each in json.loads(out.read_text())["cases"][0]["messages"]]
    assert said == ["go", "half ?"]


@pytest.mark.parametrize("key", ["secret\n", "geheimnißvoll"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_told(key):
    error = wrong("--endpoint", "http://localhost:1", "--api-key", key)
    assert "--api-key" in error.problem and key.strip() not in error.problem


@pytest.mark.parametrize("url", ["http://", "ftp://a", "http://a:99999", "http://[", ""])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(UserError, match="address"):
        base(url)


# What a talk tells the model.


def case(**keys) -> str:
    return json.dumps({"id": "1", "questions": [{"user": "go"}], **keys})


def test_after_three_rounds_the_model_is_asked_without_tools(tmp_path):
    file = tmp_path / "cases.jsonl"
    file.write_text(case())

    def restless(body: Body) -> Reply:
        return calls(("get_time", {}))

    with Scripted(restless) as server:
        assert run("--endpoint", server.url, "--cases", str(file)).exit_code == 0
        assert ["tools" in body for body in server.bodies] == [True, True, True, False]
        assert run("--endpoint", server.url, "--cases", str(file), "--rounds", "1").exit_code == 0
        assert ["tools" in body for body in server.bodies[4:]] == [True, False]
    last = server.bodies[3]["messages"]
    assert [message["role"] for message in last] == ["user", *["assistant", "tool"] * 3]


def test_a_call_written_where_none_is_offered_is_no_call_that_could_not_be_read():
    written = Message('<tool_call>{"name": "get_time", "arguments": {}}</tool_call>')
    talk = answer([{"role": "user", "content": "go"}], [{"name": "get_time"}], lambda *call: "{}", rounds=1)
    next(talk)
    talk.send(Message(calls=[Call("get_time", "{}")]))
    with pytest.raises(StopIteration) as ended:
        talk.send(written)
    assert not ended.value.value.unreadable and len(ended.value.value.calls) == 1


def test_calls_and_results_stay_and_thoughts_do_until_the_next_question(tmp_path):
    file = tmp_path / "cases.jsonl"
    file.write_text(case(system="Be brief.", questions=[{"user": "go"}, {"user": "on"}]))

    def reply(body: Body) -> Reply:
        if asked(body) == "go" and not since(body):
            return {
                **calls(("calculate", {"expression": "6*7"}), ("nothing", "{")),
                "reasoning_content": "hm",
            }
        return says("42")

    with Scripted(reply) as server:
        run("--endpoint", server.url, "--cases", str(file))
    (_, second, third) = (body["messages"] for body in server.bodies)
    system, user, made, result, other = second
    assert (system["role"], user["content"], made["reasoning_content"]) == ("system", "go", "hm")
    assert [each["function"]["name"] for each in made["tool_calls"]] == ["calculate", "nothing"]
    ids = [each["id"] for each in made["tool_calls"]]
    assert len(set(ids)) == 2 and all(len(each) == 9 and each.isalnum() for each in ids)
    assert result == {"role": "tool", "tool_call_id": ids[0], "content": '{"result": "42"}'}
    assert "there is no tool 'nothing'" in other["content"]
    assert third[: len(second)] == [{k: v for k, v in m.items() if k != "reasoning_content"} for m in second]
    assert [message["content"] for message in third[5:]] == ["42", "on"]


def test_tools_of_ones_own_answer_as_said_and_fail_as_often_as_said(tmp_path):
    mine = {"name": "door", "parameters": {"type": "object", "properties": {"open": {"type": "boolean"}}}}
    file = tmp_path / "cases.jsonl"
    file.write_text(
        case(tools=[mine, "get_time"], returns={"door": {"state": "open"}}, failing={"door": ["jammed"]})
    )
    with Scripted(lambda body: calls(("door", {"open": True}))) as server:
        run("--endpoint", server.url, "--cases", str(file))
    assert [tool["function"]["name"] for tool in server.bodies[0]["tools"]] == ["door", "get_time"]
    results = [each["content"] for each in server.bodies[-1]["messages"] if each["role"] == "tool"]
    assert results == ['{"error": "jammed"}', '{"state": "open"}', '{"state": "open"}']


# Cases in a file.


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "not JSON"),
        ("[]", "list, not an object"),
        ("{}", "id: is required"),
        (case(questions=[]), "questions: none"),
        (case(question=[]), "question: unknown key"),
        (case(questions=[{"usr": "go"}]), "questions.0"),
        (case(questions=[{"user": "go", "calls": [[]]}]), "a round without a call"),
        (case(questions=[{"user": "go", "calls": [[{"name": 1}]]}]), "questions.0.calls.0.0.name"),
        (case(questions=[{"user": "go", "calls": [[{"name": "f", "arguments": {"x": {"any": 1}}}]]}]), "any"),
        (
            case(questions=[{"user": "go", "calls": [[{"name": "f", "arguments": {"x": {"any": []}}}]]}]),
            "any",
        ),
        (case(questions=[{"user": "go", "answer": [[]]}]), "a list of no texts"),
        ("[" * 100_000, "not JSON"),
        (case(system="\ud83d"), "half a character"),
        (case(toolbox="hammer"), "no 'hammer'"),
        (case(tools=[{"description": "?"}]), "tools.0: has no name"),
    ],
)
def test_a_line_that_is_no_case_is_named_with_its_place(tmp_path, line, problem):
    path = tmp_path / "cases.jsonl"
    path.write_text(f"{case(id='first')}\n\n{line}\n")
    with pytest.raises(UserError, match=r"cases.jsonl:3: ") as error:
        cases.read(path)
    assert problem in error.value.problem and error.value.hint and "danlu config" not in error.value.hint


def test_a_line_ends_only_where_a_line_ends(tmp_path):
    path = tmp_path / "cases.jsonl"
    path.write_text(f"{case(id='first')}\r\n" + '{"id": "2", "questions": [{"user": "a\u2028b\x85c"}]}')
    assert cases.read(path)[1].questions[0].user == "a\u2028b\x85c"


def test_what_no_line_can_tell_is_refused_too(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        cases.read(tmp_path / "none.jsonl")
    path = tmp_path / "cases.jsonl"
    path.write_text("\n")
    with pytest.raises(UserError, match="holds no case"):
        cases.read(path)
    path.write_text(f"{case()}\n{case()}\n")
    with pytest.raises(UserError, match="the id '1' is taken"):
        cases.read(path)
    path.write_text(case(tools=["hammer"]))
    assert "has no tool 'hammer'" in wrong("--endpoint", "x", "--cases", str(path)).problem
    called = [[{"name": "get_wether"}]]
    for keys in ({"questions": [{"user": "go", "calls": called}]}, {"failing": {"get_wether": ["jammed"]}}):
        path.write_text(case(**keys))
        error = wrong("--endpoint", "x", "--cases", str(path))
        assert "no tool 'get_wether' is offered" in error.problem and "'get_weather'" in error.hint
    path.write_text(case(toolbox="mcp"))
    assert "no toolbox 'mcp'" in wrong("--endpoint", "x", "--cases", str(path)).problem


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ((), "measure what"),
        (("out", "--endpoint", "x"), "both are named"),
        (("--endpoint", "x", "--min", "speed=1"), "no metric 'speed'"),
        (("--endpoint", "x", "--min", "json=95"), "not a share"),
        (("--endpoint", "x", "--min", "json"), "not a share"),
        (("--endpoint", "x", "--temperature", "nan"), "not a number"),
        (("--endpoint", "x", "--out", "/nowhere/report.json"), "cannot be written"),
        (("--endpoint", "ftp://x"), "not an http address"),
        (("nowhere",), "no such folder"),
    ],
)
def test_what_cannot_be_measured_is_refused_at_once(words, problem):
    assert problem in wrong(*words).problem
