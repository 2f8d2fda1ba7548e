"""The page and what it is made for: the built-in server, the tools it runs, and our tools over MCP."""

import json
import re
import subprocess
import sys

import pytest

from danlu.serve.house import Rules
from danlu.tools import classic
from serve.servers import serving

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def built_in():
    with serving(rules=Rules(keys=("secret",), quiet=True)) as server:
        yield server


@pytest.fixture
def served(chromium, built_in):
    """The page as the built-in server serves it, with a key."""
    chromium("open", built_in.url, locale="en-GB")
    chromium("wait_for_function", "() => server.state === 'down'")
    assert "API key" in chromium("inner_text", "#connection-said")
    chromium("fill", "#key", "secret")
    chromium("press", "#key", "Enter")
    chromium("wait_for_selector", "#box option[value=starter]", state="attached")
    chromium("evaluate", "() => setSampling('max_tokens', 40)")
    return chromium


def test_an_answer_of_the_engine_streams_into_the_page(served):
    served("click", "#tools-pill")
    served.ask("hello")
    message = served("evaluate", "() => messages[1]")
    assert message["meta"]["usage"]["completion_tokens"] <= 40 and not message["meta"].get("fault")
    assert "tokens" in served("inner_text", ".stats") and served("errors") == []


def test_a_call_the_engine_is_held_to_runs_at_the_server(served):
    served("select_option", "#tool-choice", "calculate")
    served.ask("what is 1 + 1?")
    call, result = served("evaluate", "() => [messages[1].tool_calls[0].function, messages[2]]")
    assert call["name"] == "calculate" and result["meta"]["by"] == "server"
    assert result["content"] == classic.toolbox().call("calculate", json.loads(call["arguments"]))


def test_our_tools_over_mcp_are_called_from_the_page(page, peer):
    command = [sys.executable, "-m", "danlu", "tools", "serve", "--http", "127.0.0.1:0", "--cors", peer.url]
    server = subprocess.Popen([*command, "--tools", "classic"], stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr
        address = next(found[0] for line in server.stderr if (found := re.search(r"http://\S+/mcp", line)))
        page("check", "input[name=tools-from][value=mcp]")
        page("fill", "#mcp-url", address)
        page("click", "#mcp-connect")
        page.sees("4 tools")
        given = {"city": "北京"}
        found = page("evaluate", "given => mcp.call('get_weather', given)", given)
        assert found == classic.toolbox().call("get_weather", given)
    finally:
        server.terminate()
        server.wait(30)
