"""The engine at work for many: places, queues, time, clients who leave, engines that fail, leaving well."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
import torch

from danlu.generate.engine import Engine, complete
from danlu.generate.sample import Sampling
from danlu.serve import asking, constraints, worker
from danlu.serve.meters import Meters
from danlu.serve.schema import Asking
from danlu.serve.served import engine_maker
from generate.models import TOKENIZER
from serve.plain import asked, events
from serve.servers import CONTEXT, MODEL, endless, messages, served, serving

CHAT = "/v1/chat/completions"
LONG = {"messages": messages("go on"), "max_tokens": CONTEXT // 2, "ignore_eos": True, "temperature": 0}
SHORT = {"messages": messages("hi"), "max_tokens": 2, "temperature": 0}


class Begun:
    """A stream that has begun; leaving the block hangs up."""

    def __init__(self, url, body=LONG, path=CHAT):
        place = urlsplit(url)
        self.line = socket.create_connection((place.hostname, place.port), timeout=60)
        data = json.dumps({**body, "stream": True} if path == CHAT else body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        self.line.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)

    def __enter__(self):
        self.first = self.line.recv(4096)
        return self

    def __exit__(self, *problem):
        self.line.close()

    def rest(self):
        text = self.first
        while not text.endswith(b"0\r\n\r\n"):
            more = self.line.recv(65536)
            if not more:
                break
            text += more
        return text.decode()


def until(true, seconds=30.0):
    """Wait for something that another thread does."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def paused(running, monkeypatch):
    """Let the engine's steps wait for a word."""
    go = threading.Event()
    step = Engine.step

    def waiting(engine):
        go.wait(60)
        return step(engine)

    monkeypatch.setattr(Engine, "step", waiting)
    return go


def test_more_than_fits_is_told_to_come_again(monkeypatch):
    with serving(slots=1, queue=2) as running:
        go = paused(running, monkeypatch)
        with ThreadPoolExecutor(3) as pool:
            taken = [pool.submit(asked, running.url + CHAT, SHORT) for _ in range(3)]
            until(lambda: running.worker.open_count == 3)
            status, told, sent = asked(running.url + CHAT, SHORT)
            assert status == 429 and 1 <= int(sent["retry-after"]) <= 60
            assert (
                told["error"]["type"] == "rate_limit_error"
                and "try again in about" in told["error"]["message"]
            )
            assert asked(f"{running.url}/v1/embeddings", {"input": "a"})[0] == 429
            go.set()
            assert [each.result()[0] for each in taken] == [200] * 3
        assert asked(running.url + CHAT, SHORT)[0] == 200
        status, told, _ = asked(running.url + CHAT, {**SHORT, "n": 4})
        assert status == 400 and "this server takes 3" in told["error"]["message"]


@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
def test_what_an_answer_needs_is_not_made_for_more_than_fit(path, monkeypatch):
    """A grammar may take seconds to make; whoever waits for one has a place already."""
    begun, go = threading.Semaphore(0), threading.Event()

    async def slow(*words):
        begun.release()
        await asyncio.to_thread(go.wait, 60)

    monkeypatch.setattr(constraints, "wanted", slow)
    body = SHORT if path == CHAT else {"prompt": ["hi", "ho"], "max_tokens": 2}
    most = 4 if path == CHAT else 2
    with serving(slots=1, queue=3) as running, ThreadPoolExecutor(most) as pool:
        taken = [pool.submit(asked, running.url + path, body) for _ in range(most)]
        assert all(begun.acquire(timeout=30) for _ in taken)
        assert asked(running.url + path, body)[0] == 429
        go.set()
        assert [each.result()[0] for each in taken] == [200] * most
        until(lambda: running.worker.open_count == 0)


def test_a_client_who_leaves_frees_his_place():
    with serving(served(endless()), slots=2) as running:
        with Begun(running.url), Begun(running.url):
            assert running.worker.open_count == 2
        until(lambda: running.worker.open_count == 0 and not running.engine.busy)
        assert running.house.meters.cancelled.values[()] == 2
        assert asked(running.url + CHAT, SHORT)[0] == 200


def test_a_client_who_leaves_before_a_whole_answer_frees_his_place(monkeypatch):
    with serving(slots=1) as running:
        go = paused(running, monkeypatch)
        begun = Begun(running.url)
        until(lambda: running.worker.open_count == 1)
        begun.line.close()
        until(lambda: running.worker.open_count == 0)
        go.set()
        until(lambda: not running.engine.busy)


def hanging(monkeypatch):
    """Let embeddings wait for a word."""
    go = threading.Event()
    embed = Engine.embed
    monkeypatch.setattr(Engine, "embed", lambda *words: (go.wait(60), embed(*words))[1])
    return go


def test_a_client_who_leaves_before_his_vectors_frees_his_place(monkeypatch):
    with serving(slots=1) as running:
        go = hanging(monkeypatch)
        begun = Begun(running.url, {"input": ["a"] * 40}, "/v1/embeddings")
        until(lambda: running.worker.open_count == 1)
        begun.line.close()
        until(lambda: running.worker.open_count == 0)
        assert running.house.meters.cancelled.values[()] == 1
        go.set()
        assert asked(f"{running.url}/v1/embeddings", {"input": "a"})[0] == 200


def test_who_waits_for_vectors_is_told_that_the_server_leaves(monkeypatch):
    with serving(slots=1, grace=0.1) as running, ThreadPoolExecutor(1) as pool:
        go = hanging(monkeypatch)
        waits = pool.submit(asked, f"{running.url}/v1/embeddings", {"input": ["a"] * 40})
        until(lambda: running.worker.open_count == 1)
        running.server.leave()
        status, told, _ = waits.result()
        go.set()
        assert (status, told["error"]["type"]) == (503, "server_error"), told
        assert "shutting down" in told["error"]["message"]


def test_vectors_have_one_time_for_all_of_them(monkeypatch):
    with serving(slots=1, timeout=0.5) as running:
        embed = Engine.embed
        slow = threading.Event()
        monkeypatch.setattr(Engine, "embed", lambda *words: (slow.wait(0.2), embed(*words))[1])
        status, told, _ = asked(f"{running.url}/v1/embeddings", {"input": ["a"] * 64})
        assert status == 504 and "not done after 0.5 s" in told["error"]["message"]


def test_a_server_whose_engine_cannot_be_had_again_leaves(monkeypatch, capfd):
    def broken(*words):
        raise RuntimeError("no memory is left")

    with serving(slots=1) as running:
        monkeypatch.setattr(Engine, "step", broken)
        monkeypatch.setattr(running.worker, "make", broken)
        status, told, _ = asked(running.url + CHAT, SHORT)
        assert status == 500 and told["error"]["type"] == "server_error"
        until(lambda: running.server.should_exit)
        assert running.worker.failure and running.worker.open_count == 0
    assert "no memory is left" in capfd.readouterr().err


def test_an_engine_that_cannot_answer_at_all_is_told_at_the_start(monkeypatch):
    def broken(*words):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(Engine, "step", broken)
    ill = worker.Worker(engine_maker(served(), 1), Meters(), 1, 1.0)
    with pytest.raises(RuntimeError, match="no such kernel"):
        asyncio.run(ill.start())


def test_time_that_is_over_is_told_by_status_or_in_the_stream(monkeypatch):
    with serving(served(endless()), slots=1, timeout=1.0) as running:
        go = paused(running, monkeypatch)
        status, told, _ = asked(running.url + CHAT, LONG)
        assert status == 504 and "not done after 1 s" in told["error"]["message"]
        assert running.house.meters.cancelled.values[()] == 0
        go.set()
        until(lambda: not running.engine.busy)
        slow = threading.Event()
        step = Engine.step
        monkeypatch.setattr(Engine, "step", lambda engine: (slow.wait(0.05), step(engine))[1])
        told = [
            json.loads(line[6:]) for line in list(events(running.url + CHAT, {**LONG, "stream": True}))[:-1]
        ]
        assert told[-1]["error"]["type"] == "timeout_error" and told[0]["choices"]
        until(lambda: not running.engine.busy and running.worker.open_count == 0)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RuntimeError("a kernel failed"), 500),
        (MemoryError(), 503),
        (torch.OutOfMemoryError("out of memory: tried to allocate"), 503),
    ],
    ids=str,
)
def test_an_engine_that_fails_fails_its_requests_and_the_server_goes_on(error, status, monkeypatch, capfd):
    with serving(slots=2) as running:
        good = asked(running.url + CHAT, {**SHORT, "return_token_ids": True})[1]["choices"]
        step = Engine.step
        left = [2]

        def failing(engine):
            left[0] -= 1
            if left[0] == 0:
                raise error
            return step(engine)

        with monkeypatch.context() as patch:
            patch.setattr(Engine, "step", failing)
            lines = [
                line.removeprefix("data: ") for line in events(running.url + CHAT, {**LONG, "stream": True})
            ]
        assert json.loads(lines[-2])["error"]["type"] == "server_error" and lines[-1] == "[DONE]"
        with monkeypatch.context() as patch:
            left[0] = 1
            patch.setattr(Engine, "step", failing)
            got, told, _ = asked(running.url + CHAT, SHORT)
        assert got == status and "server" in told["error"]["message"]
        again = asked(running.url + CHAT, {**SHORT, "return_token_ids": True})[1]["choices"]
        assert again == good and running.worker.open_count == 0
    assert ("a kernel failed" in capfd.readouterr().err) == (status == 500)


def test_a_slow_reader_gets_all_of_it_and_holds_up_nobody():
    with serving(served(endless()), slots=2) as running:
        with Begun(running.url, {**LONG, "return_token_ids": True}) as slow:
            until(lambda: not running.engine.busy)
            assert asked(running.url + CHAT, SHORT)[0] == 200
            lines = [line[6:] for line in slow.rest().splitlines() if line.startswith("data: {")]
        told = [json.loads(line) for line in lines]
        tokens = [t for chunk in told for choice in chunk["choices"] for t in choice.get("token_ids") or []]
        assert len(tokens) == CONTEXT // 2


def test_a_prompt_beside_others_changes_none_of_them():
    texts = ["one", "two and more", "three " * 40, "four"]
    prompts = [asking.asked(TOKENIZER, Asking(messages=messages(text))).ids for text in texts]
    expected = [
        a.tokens for a in complete(MODEL, TOKENIZER, prompts, Sampling(temperature=0.0, max_tokens=24))
    ]

    def tokens(text):
        body = {"messages": messages(text), "temperature": 0, "max_tokens": 24, "return_token_ids": True}
        return asked(running.url + CHAT, body)[1]["choices"][0]["token_ids"]

    with serving(slots=2) as running, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(tokens, texts * 3)) == expected * 3


def test_leaving_finishes_what_is_under_way_and_refuses_what_is_new():
    with serving(served(endless()), slots=2) as running:
        with Begun(running.url) as begun:
            running.server.leave()
            until(lambda: running.worker.draining)
            status, told, sent = asked(running.url + CHAT, SHORT)
            assert status == 503 and sent["retry-after"] and "shutting down" in told["error"]["message"]
            assert asked(f"{running.url}/ready")[0] == 503 and asked(f"{running.url}/health")[0] == 200
            text = begun.rest()
        assert "[DONE]" in text and '"finish_reason":"length"' in text and "error" not in text


def test_leaving_waits_no_longer_than_its_grace():
    with serving(served(endless()), slots=1, grace=0.2) as running:
        with Begun(running.url, {**LONG, "max_tokens": 400}) as begun:
            running.server.leave()
            text = begun.rest()
        assert "shutting down" in text or '"finish_reason":"length"' in text
        assert "[DONE]" in text


def test_insisting_ends_at_once():
    with serving(served(endless()), slots=1, grace=60) as running:
        with Begun(running.url):
            running.server.leave()
            running.server.leave()
            until(lambda: running.server.force_exit)


def test_a_reader_who_takes_nothing_is_hung_up_on(monkeypatch):
    monkeypatch.setattr(worker, "PATIENCE", 0.2)
    wide = {**LONG, "n": 8, "logprobs": True, "top_logprobs": 20, "max_tokens": 400}
    with serving(served(endless()), slots=8, timeout=6.0) as running:
        with Begun(running.url, wide) as begun:
            until(lambda: not running.engine.busy and not running.worker._flights)
            until(lambda: running.worker.open_count == 0)
            text = ""
            with contextlib.suppress(ConnectionResetError):
                text = begun.rest()
            assert "[DONE]" not in text
        assert asked(running.url + CHAT, SHORT)[0] == 200
