"""Who may ask, how much, and in which words it is refused."""

import http.client
import json
import socket
from urllib.parse import urlsplit

import pytest

from danlu.serve import address, running
from danlu.serve.house import Rules
from danlu.serve.meters import Counter, Histogram
from serve.plain import asked
from serve.servers import messages, serving

CHAT = "/v1/chat/completions"
ASKED = {"messages": messages("hi"), "max_tokens": 1}


@pytest.fixture(scope="module")
def server():
    rules = Rules(quiet=True, max_body=10_000, body_seconds=1.0)
    with serving(rules=rules) as running:
        yield running


@pytest.fixture(scope="module")
def locked():
    rules = Rules(keys=("first", "second"), origins=("https://page.example",), quiet=True)
    with serving(rules=rules) as running:
        yield running


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def test_a_key_is_needed_where_there_is_one(locked):
    for headers in ({}, bearer("third"), bearer(""), bearer("firs"), {"Authorization": "Basic first"}):
        status, told, sent = asked(locked.url + CHAT, ASKED, headers)
        assert status == 401 and told["error"]["code"] == "invalid_api_key"
        assert "Authorization: Bearer KEY" in told["error"]["message"]
        assert sent["www-authenticate"] == "Bearer"
    for key in ("first", "second"):
        assert asked(locked.url + CHAT, ASKED, bearer(key))[0] == 200
    for path in ("/v1/models", "/metrics", "/tools", "/tokenize", "/nothing"):
        assert asked(locked.url + path)[0] == 401
    for path in ("/health", "/ready", "/openapi.json"):
        assert asked(locked.url + path)[0] == 200


def preflight(url, origin):
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    return asked(url + CHAT, None, headers, "OPTIONS")


def test_pages_of_a_named_origin_may_ask_and_no_others(locked, server):
    status, _, sent = preflight(locked.url, "https://page.example")
    assert status == 200 and sent["access-control-allow-origin"] == "https://page.example"
    assert "access-control-allow-origin" not in preflight(locked.url, "https://other.example")[2]
    assert "access-control-allow-origin" not in preflight(server.url, "https://page.example")[2]
    origin = {"Origin": "https://page.example"}
    assert asked(locked.url + CHAT, ASKED, origin)[2]["access-control-allow-origin"]


def test_a_request_has_an_id_its_own_or_that_it_came_with(server):
    given = asked(server.url + CHAT, ASKED, {"X-Request-Id": "mine-1"})[2]["x-request-id"]
    assert given == "mine-1"
    made = {asked(server.url + CHAT, {}, {"X-Request-Id": "a b"})[2]["x-request-id"] for _ in range(2)}
    assert len(made) == 2 and "a b" not in made


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "the body is missing"),
        (b"{", "the body is not valid JSON"),
        (b'{"messages": [', "the body is not valid JSON"),
        (b"[]", "send one JSON object"),
        (b"null", "send one JSON object"),
        (b'"text"', "send one JSON object"),
        (b"\xff\xfe{}", "the body"),
        (b"[" * 5000, "the body"),
        (b'{"seed": 1' + b"0" * 5000 + b"}", "the body"),
        (b'{"messages": [{"role": "user", "content": "\\ud83d"}]}', "half of a character"),
        (b'{"messages": [{"role": "user", "content": "a"}], "\\udc00": 1}', "half of a character"),
        (b'{"messages": [{"role": "user", "content": "\xed\xa0\xbd"}]}', "no text in UTF-8"),
        (b'{"messages": [], "chat_template_kwargs": {"x": "\xed\xa0\xbd"}}', "no text in UTF-8"),
        ('{"messages": [{"role": "user", "content": "\\ud83d"}]}'.encode("utf-16"), "no text in UTF-8"),
        ('{"messages": [{"role": "user", "content": "\\ud83d"}]}'.encode("utf-16-le"), "no text in UTF-8"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_is_no_request_is_refused(server, body, says):
    status, told, _ = asked(server.url + CHAT, body)
    assert status == 400 and says in told["error"]["message"]


def test_whole_characters_may_be_written_as_halves(server):
    body = b'{"messages": [{"role": "user", "content": "\\ud83c\\udf0a"}], "max_tokens": 1}'
    assert asked(server.url + CHAT, body)[0] == 200


def test_a_body_that_is_not_said_to_be_json_is_refused(server):
    status, told, _ = asked(server.url + CHAT, json.dumps(ASKED).encode(), {"Content-Type": "text/plain"})
    assert status == 400 and "application/json" in told["error"]["message"]


def test_a_body_too_large_is_refused_by_its_length_and_while_it_comes(server):
    status, told, _ = asked(server.url + CHAT, b" " * 10_001)
    assert status == 413 and "larger than 10000 bytes" in told["error"]["message"]
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20)

    def endless():
        for _ in range(100):
            yield b" " * 1000

    try:
        connection.request("POST", CHAT, endless(), {"Content-Type": "application/json"}, encode_chunked=True)
        assert connection.getresponse().status == 413
    except (BrokenPipeError, ConnectionResetError):
        pass  # refused before all of it was sent
    finally:
        connection.close()
    assert asked(server.url + CHAT, ASKED)[0] == 200


def test_a_body_that_does_not_come_is_not_waited_for(server):
    place = urlsplit(server.url)
    with socket.create_connection((place.hostname, place.port), timeout=20) as line:
        line.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{")
        assert line.recv(1000).startswith(b"HTTP/1.1 408")


def test_a_head_that_does_not_come_is_not_waited_for(server, monkeypatch):
    monkeypatch.setattr(running, "HEAD_SECONDS", 0.3)
    place = urlsplit(server.url)
    whole = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    for before, sent in ((b"", b""), (b"", whole[:9]), (whole, whole[:9])):
        with socket.create_connection((place.hostname, place.port), timeout=20) as line:
            line.sendall(before)
            assert not before or b"200 OK" in line.recv(1000)
            line.sendall(sent)
            while line.recv(1000):
                pass
    assert asked(server.url + CHAT, ASKED)[0] == 200


def test_a_fault_of_the_server_is_told_in_the_shape_of_errors(server, monkeypatch, capfd):
    def broken():
        raise RuntimeError("a meter fell down")

    monkeypatch.setattr(server.house.meters, "text", broken)
    status, told, sent = asked(f"{server.url}/metrics")
    assert status == 500 and told["error"]["type"] == "server_error" and sent["x-request-id"]
    assert "a meter fell down" not in str(told)
    asked(f"{server.url}/health")  # the log is written after the answer
    assert "a meter fell down" in capfd.readouterr().err


def test_other_paths_and_methods_are_told_so(server):
    status, told, _ = asked(f"{server.url}/v2/chat")
    assert status == 404 and "/openapi.json" in told["error"]["message"]
    assert asked(f"{server.url}/health", method="HEAD")[:2] == (200, "")
    status, told, sent = asked(server.url + CHAT)
    assert status == 405 and told["error"]["message"].startswith("GET is not") and sent["allow"] == "POST"


def test_what_was_answered_is_counted_by_route_and_status(server):
    for path in ("/v1/models", "/nothing", "/v1/models/x"):
        asked(server.url + path)
    told = asked(f"{server.url}/metrics")[1]
    assert 'danlu_requests_total{route="/v1/models",code="200"}' in told
    assert 'danlu_requests_total{route="other",code="404"}' in told
    assert 'danlu_requests_total{route="/v1/models/{id}",code="404"}' in told
    assert 'danlu_time_to_first_token_seconds_bucket{le="+Inf"}' in told


def test_the_page_is_served_with_a_policy(server):
    status, told, sent = asked(f"{server.url}/")
    assert status == 200 and "<html" in told and "default-src" in sent["content-security-policy"]


def test_a_histogram_counts_what_is_at_most_so_large():
    meter = Histogram("x", "help", (1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        meter.observe(value)
    assert list(meter.lines()) == [
        'x_bucket{le="1.0"} 2',
        'x_bucket{le="2.0"} 3',
        'x_bucket{le="+Inf"} 4',
        "x_sum 12",
        "x_count 4",
    ]


def test_labels_are_written_so_that_they_can_be_read():
    meter = Counter("x", "help", ("name",))
    meter.add(2, 'a"b\\c\n')
    assert list(meter.lines()) == ['x{name="a\\"b\\\\c\\n"} 2']


def test_the_environment_holds_several_keys_and_who_asks_sends_one(monkeypatch):
    monkeypatch.setenv(address.KEY, " one, ,two")
    assert address.keys_around() == ("one", "two") and address.first_key() == "one"
    monkeypatch.delenv(address.KEY)
    assert address.keys_around() == () and address.first_key() == ""
