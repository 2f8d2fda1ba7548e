"""A key typed into the page goes to the address it was typed for, and to no other."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from scripted_peer import Handler, Peer, serving

pytestmark = pytest.mark.browser


class Noting(Handler):
    """Notes the key of every request, of those for models and tools too."""

    def parse_request(self) -> bool:
        good = super().parse_request()
        if good and self.command != "OPTIONS":  # which never bears one
            self.server.keys.append((self.path, self.headers["Authorization"]))
        return good


@contextmanager
def noting() -> Iterator[Peer]:
    with serving() as peer:
        peer.keys = []
        peer.RequestHandlerClass = Noting  # before any request: a connection keeps its handler
        yield peer


@pytest.fixture
def peer() -> Iterator[Peer]:
    with noting() as found:
        yield found


@pytest.fixture
def other() -> Iterator[Peer]:
    with noting() as found:
        yield found


def keys(peer: Peer, under: str = "/") -> list[str | None]:
    return [key for path, key in peer.keys if path.startswith(under)]


def go_to(page, endpoint: str) -> None:
    page("fill", "#endpoint", endpoint)
    page("press", "#endpoint", "Enter")
    page("wait_for_function", "() => server.state === 'up'")


def give_key(page, key: str) -> None:
    page("fill", "#key", key)
    page("press", "#key", "Enter")
    page("wait_for_function", "() => server.state === 'up'")


def test_a_key_is_not_sent_to_another_server_and_is_back_with_its_own(page, peer, other):
    peer.script("one", "two", "three")
    other.script("a", "b")
    give_key(page, "first")
    page.ask("hello")
    go_to(page, other.url)
    assert page("input_value", "#key") == ""
    page.ask("hello")
    assert keys(other) and set(keys(other)) == {None}
    give_key(page, "second")
    page.ask("hello")
    assert keys(other)[-1] == "Bearer second" and "Bearer first" not in keys(other)
    page("click", ".preset >> nth=0")
    assert page("input_value", "#key") == "first"
    page.ask("hello")
    page("reload")
    page("wait_for_function", "() => server.state === 'up'")
    page.ask("hello")
    assert [request["headers"].get("Authorization") for request in peer.asked] == ["Bearer first"] * 3
    assert "Bearer second" not in keys(peer)


def test_two_endpoints_of_one_host_have_a_key_each(page, peer):
    peer.documents["/else/v1/models"] = {"data": [{"id": "tiny"}]}
    give_key(page, "first")
    go_to(page, f"{peer.url}/else")
    assert keys(peer, "/else") and set(keys(peer, "/else")) == {None}
    go_to(page, f"{peer.url}/v1/")  # another way to write the first
    assert page("input_value", "#key") == "first" and keys(peer, "/v1/")[-1] == "Bearer first"


def test_the_token_of_an_mcp_server_is_not_sent_to_another(page, peer, other):
    answer = {"protocolVersion": "2025-06-18", "serverInfo": {"name": "mcp"}, "tools": []}
    for server in (peer, other):
        server.posts["/mcp"] = lambda body: {"jsonrpc": "2.0", "id": body.get("id"), "result": answer}
    page("check", "input[name=tools-from][value=mcp]")
    page("fill", "#mcp-url", f"{peer.url}/mcp")
    page("fill", "#mcp-token", "first")
    page("click", "#mcp-connect")
    page("wait_for_function", "() => mcp")
    assert {each["headers"].get("Authorization") for each in peer.requests} == {"Bearer first"}
    page("fill", "#mcp-url", f"{other.url}/mcp")
    page("click", "#mcp-connect")
    page("wait_for_function", "url => mcp?.url.startsWith(url)", arg=other.url)
    assert keys(other) and set(keys(other)) == {None}
    page("fill", "#mcp-url", f"{peer.url}/mcp")
    page("press", "#mcp-url", "Enter")
    assert page("input_value", "#mcp-token") == "first"
