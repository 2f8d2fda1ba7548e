"""danlu tools: listed, called and served as the commands' help says."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from danlu.base.errors import UserError
from danlu.tools.definitions import checked
from danlu.tools_commands import command
from danlu.tools_serve import address_of
from tools.mcp_serving import over_http


def danlu_tools(*words):
    return CliRunner().invoke(command, words)


def test_every_tool_is_listed_on_one_line_with_what_it_takes():
    lines = danlu_tools("list").stdout.splitlines()
    assert len(lines) == 9
    assert any(line.startswith("get_time(timezone?)  ") for line in lines)
    assert any(line == "translate(text, to)" for line in lines)


def test_what_is_listed_as_json_is_what_a_request_takes():
    tools = json.loads(danlu_tools("list", "--json", "--tools", "starter").stdout)
    assert checked(tools) == tools
    assert len(tools) == 9


def test_a_call_is_answered_on_one_line():
    done = danlu_tools("call", "calculate", '{"expression": "6 * 7"}')
    assert (done.stdout, done.exit_code) == ('{"result": "42"}\n', 0)
    assert "weekday" in json.loads(danlu_tools("call", "get_time").stdout)


def test_a_wrong_call_is_answered_too_and_leaves_with_one():
    done = danlu_tools("call", "calculate", '{"expression": "1 / 0"}')
    assert (json.loads(done.stdout), done.exit_code) == ({"error": "division by zero"}, 1)
    assert danlu_tools("call", "nothing").exit_code == 1


def test_tools_of_a_server_are_listed_and_called_and_handed_on():
    with over_http("--tools", "starter") as first, over_http("--mcp", first) as second:
        assert danlu_tools("list", "--mcp", second).stdout == danlu_tools("list", "--tools", "starter").stdout
        call = ("call", "convert_unit", '{"value": "350 km", "to": "m"}')
        assert danlu_tools(*call).stdout == '{"result": "350000 m"}\n'
        assert danlu_tools(*call, "--mcp", second).stdout == danlu_tools(*call).stdout


def test_a_server_is_reached_from_other_machines_only_if_that_is_meant():
    assert address_of("127.0.0.1:8100", False) == ("127.0.0.1", 8100)
    assert address_of("[::1]:0", False) == ("::1", 0)
    assert address_of("0.0.0.0:8100", True) == ("0.0.0.0", 8100)
    with pytest.raises(UserError, match="other machines"):
        address_of("0.0.0.0:8100", False)
    for wrong in ("8100", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:²", "127.0.0.1:70000"):
        with pytest.raises(UserError, match="is not HOST:PORT"):
            address_of(wrong, False)
