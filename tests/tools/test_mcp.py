"""Tools over MCP: our client and the official one, our server and another one, over both transports."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys

import pytest

from danlu.base.errors import UserError
from danlu.tools import classic
from danlu.tools.mcp import McpTools, answer_of
from danlu.tools.run import Toolboxes
from tools.mcp_serving import COMMAND, over_http

mcp = pytest.importorskip("mcp")
BOX = classic.toolbox()
STDIO = shlex.join(COMMAND)
CALLS = [
    ("calculate", {"expression": "(3 + 4) * 5"}),
    ("get_weather", {"city": "北京"}),
    ("get_weather", {"city": "Atlantis"}),
    ("search", {"query": "光速"}),
    ("calculate", {"sum": "1 + 1"}),
]
OTHER = """
from mcp.server.mcpserver import MCPServer
server = MCPServer("other")
@server.tool()
def add(a: int, b: int = 1) -> int:
    "Add two numbers."
    return a + b
@server.tool()
def shout(text: str) -> str:
    return text.upper()
@server.tool()
def fail() -> str:
    raise ValueError("out of order")
server.run(transport="stdio")
"""


@pytest.fixture(scope="module")
def address():
    with over_http() as at:
        yield at


@pytest.mark.parametrize("transport", ["stdio", "http"])
def test_our_client_finds_at_our_server_what_the_toolbox_has(transport, request):
    where = STDIO if transport == "stdio" else request.getfixturevalue("address")
    with McpTools(where) as box:
        assert box.definitions() == BOX.definitions()
        for name, arguments in CALLS:
            assert json.loads(box.call(name, arguments)) == json.loads(BOX.call(name, arguments))
        assert box.call("calculate", '{"expression": "6 * 7"}') == '{"result": "42"}'
        assert "did you mean 'calculate'" in box.call("calculat", "{}")
        assert "are no JSON" in box.call("calculate", "{")
    assert "the connection is closed" in box.call("calculate", {"expression": "1"})


@pytest.mark.parametrize("transport", ["stdio", "http"])
@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_official_client_finds_the_same_at_our_server(transport, mode, request):
    where = request.getfixturevalue("address")
    if transport == "stdio":
        where = mcp.StdioServerParameters(command=COMMAND[0], args=COMMAND[1:])

    async def talk():
        async with mcp.Client(where, mode=mode) as client:
            tools = (await client.list_tools()).tools
            return tools, [await client.call_tool(name, arguments) for name, arguments in CALLS]

    tools, results = asyncio.run(talk())
    told = [(tool.name, tool.description, tool.input_schema) for tool in tools]
    ours = [each["function"] for each in BOX.definitions()]
    assert told == [(each["name"], each["description"], each["parameters"]) for each in ours]
    for (name, arguments), result in zip(CALLS, results):
        answer = json.loads(BOX.call(name, arguments))
        assert json.loads(result.content[0].text) == answer
        assert result.is_error == ("error" in answer)


def test_our_client_talks_to_a_server_that_is_not_ours(tmp_path):
    script = tmp_path / "other.py"
    script.write_text(OTHER)
    with McpTools(shlex.join([sys.executable, str(script)])) as box:
        add = box.definitions()[0]["function"]
        assert (add["name"], add["description"]) == ("add", "Add two numbers.")
        assert add["parameters"]["required"] == ["a"]
        assert json.loads(box.call("add", {"a": 41})) == {"result": 42}
        assert json.loads(box.call("shout", '{"text": "hi"}')) == {"result": "HI"}
        assert "fail" in json.loads(box.call("fail", ""))["error"]
        assert "a" in json.loads(box.call("add", {}))["error"]
        both = Toolboxes(box, BOX)
        assert json.loads(both.call("calculate", {"expression": "1 + 1"})) == {"result": "2"}
        assert len(both.definitions()) == 3 + 4


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("nonesuch --really", "No such file"),
        ("cat /dev/null", "Connection closed"),
        ("http://127.0.0.1:9/mcp", "connection"),
        ("'open", "No closing quotation"),
        ("  ", "neither named nor started"),
    ],
)
def test_a_server_that_is_not_there_is_an_error_of_two_lines(where, reason):
    with pytest.raises(UserError) as error:
        McpTools(where, seconds=10)
    assert reason in error.value.problem
    assert error.value.hint


def test_pictures_and_empty_answers_are_said_in_words():
    from mcp.types import CallToolResult, ImageContent, TextContent

    picture = ImageContent(type="image", data="AA==", mime_type="image/png")
    text = TextContent(type="text", text="a cat")
    assert json.loads(answer_of(CallToolResult(content=[picture, text]))) == {"result": "[image]\na cat"}
    assert json.loads(answer_of(CallToolResult(content=[]))) == {"result": ""}
    assert json.loads(answer_of(CallToolResult(content=[], is_error=True))) == {"error": "the tool failed"}


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(UserError) as error:
        McpTools("http://127.0.0.1:9/mcp")
    assert error.value.hint == "bash run_all.sh setup --extra mcp"
