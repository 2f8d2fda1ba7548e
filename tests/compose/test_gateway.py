"""Two servers behind one real nginx: what is answered is whole, or says that it is not."""

import contextlib
import subprocess
import sys
import threading
import urllib.request

import openai
import pytest

from compose.nginx import checked, found, free_port, gateway, status, wait_for, written
from generate.models import finished
from serve.servers import endless, served, serving
from serve.test_worker import until
from shell import CLEAN, ROOT

pytestmark = pytest.mark.skipif(found() is None, reason="no nginx on this host")
CHAT = [{"role": "user", "content": "tea"}]


def place(url):
    return url.removeprefix("http://")


def client(url):
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120)


def streamed(url, tokens=40, **words):
    """The pieces of one answer, as they came."""
    chunks = client(url).chat.completions.create(
        model="tiny", messages=CHAT, max_tokens=tokens, temperature=0, stream=True, **words
    )
    return [chunk.choices[0] for chunk in chunks if chunk.choices]


def said(pieces):
    return "".join(piece.delta.content or "" for piece in pieces)


def answered(url, **words):
    chat = client(url).chat.completions
    return chat.create(model="tiny", messages=CHAT, max_tokens=40, temperature=0, **words)


def count(running):
    return sum(running.house.meters.requests.values.values())


def test_nginx_understands_the_configuration(tmp_path):
    assert checked(written(tmp_path, 20_001, ["127.0.0.1:20002", "127.0.0.1:20003"])) == ""
    broken = written(tmp_path, 20_001, ["127.0.0.1:20002"])
    broken.write_text(broken.read_text().replace("least_conn;", "no_such_thing;"))
    assert "no_such_thing" in checked(broken)


def test_streams_are_whole_and_both_servers_work(tmp_path):
    model = served(endless())
    with serving(model) as one, serving(model) as two:
        alone = streamed(one.url)
        before = count(one), count(two)
        with gateway(tmp_path, [place(one.url), place(two.url)]) as url:
            through, errors = [], []

            def ask():
                try:
                    through.append(streamed(url))
                except Exception as error:
                    errors.append(error)

            together(ask, 8)
            assert not errors
            assert [said(pieces) for pieces in through] == [said(alone)] * 8
            assert {pieces[-1].finish_reason for pieces in through} == {"length"}
            assert count(one) > before[0] and count(two) > before[1]


def together(work, times):
    threads = [threading.Thread(target=work) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)


def test_a_token_does_not_wait_for_the_next(tmp_path):
    """The first piece is here while the server still writes the answer."""
    with serving(served(endless())) as one, gateway(tmp_path, [place(one.url)]) as url:
        chunks = client(url).chat.completions.create(model="tiny", messages=CHAT, max_tokens=450, stream=True)
        next(chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.content)
        assert one.worker.open_count == 1
        chunks.close()
        until(lambda: one.worker.open_count == 0)  # and a client that leaves is noticed


def test_what_the_server_refuses_comes_through_as_it_is(tmp_path):
    with serving() as one, gateway(tmp_path, [place(one.url)]) as url:
        with pytest.raises(openai.BadRequestError, match="temperature"):
            client(url).chat.completions.create(model="tiny", messages=CHAT, temperature=-1)
        with pytest.raises(openai.NotFoundError, match="tiny"):
            client(url).chat.completions.create(model="other", messages=CHAT)
        with urllib.request.urlopen(f"{url}/") as page:
            assert b"<html" in page.read(2000).lower()
        assert status(f"{url}/metrics") == 404
        asked = urllib.request.Request(f"{url}/v1/models", headers={"X-Request-ID": "mine"})
        with urllib.request.urlopen(asked) as answer:
            assert answer.headers["x-request-id"] == "mine"


def test_a_server_that_leaves_gets_nothing_more_and_nobody_notices(tmp_path):
    with serving() as one, serving() as two, gateway(tmp_path, [place(one.url), place(two.url)]) as url:
        one.worker.draining = True
        before = count(two)
        assert all(answered(url).choices for _ in range(6))
        until(lambda: count(two) >= before + 6)  # counted once its last byte has left
        assert count(two) == before + 6
        one.worker.draining = False


def test_nobody_there_is_said_in_openai_s_words(tmp_path):
    with gateway(tmp_path, [f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"]) as url:
        with pytest.raises(openai.InternalServerError, match="send it again in a moment") as raised:
            answered(url)
        assert raised.value.status_code == 503 and raised.value.response.headers["retry-after"] == "3"


@contextlib.contextmanager
def process(folder, port):
    """A built-in server, as a process of its own."""
    command = [sys.executable, "-m", "danlu", "serve", str(folder), "--port", str(port), "--quiet"]
    env = CLEAN | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen([*command, "--name", "tiny"], env=env, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/health", server)
        yield server
    finally:
        server.kill()
        server.wait(20)


@pytest.mark.slow
def test_a_killed_server_loses_only_what_it_had_begun_and_comes_in_again(tmp_path):
    folder = finished(tmp_path / "tiny", endless())
    ports = [free_port(), free_port()]
    with (
        contextlib.ExitStack() as stack,
        process(folder, ports[1]),
        gateway(tmp_path, [f"127.0.0.1:{port}" for port in ports]) as url,
    ):
        first = stack.enter_context(process(folder, ports[0]))
        lost, kept, begun = [], [], threading.Barrier(9)

        def ask():
            pieces = []
            try:
                chunks = client(url).chat.completions.create(
                    model="tiny", messages=CHAT, max_tokens=400, stream=True
                )
                for number, chunk in enumerate(chunks):
                    pieces += chunk.choices
                    if number == 2:
                        begun.wait(60)
                kept.append(pieces[-1].finish_reason)
            except Exception as error:  # the client's own, some with what it had from the network
                lost.append(f"{error} {error.__cause__}")

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        begun.wait(60)  # all eight stream, four of them from each
        first.kill()
        for thread in threads:
            thread.join(120)
        assert len(kept) == len(lost) == 4 and set(kept) <= {"length", "stop"}
        assert all("incomplete" in error or "closed" in error for error in lost), lost

        # Out: whoever asks now is answered, each time.
        assert all(streamed(url, 20)[-1].finish_reason for _ in range(6))
        # In: a server in its place gets its share again, once it is let in.
        with process(folder, ports[0]):
            until(lambda: answered(url) and requests(ports[0]) > 0)


def requests(port):
    """How many chats a server has answered."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    found = [line for line in lines if line.startswith('danlu_requests_total{route="/v1/chat')]
    return sum(float(line.split()[-1]) for line in found)
