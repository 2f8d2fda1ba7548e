"""Tools of an MCP server: the cases they suffice for are played with them."""

from __future__ import annotations

import json
import sys

import pytest
from click.testing import CliRunner

from danlu.eval import command
from evaluate.scripted import Body, Reply, Scripted, asked, calls, says, since

pytest.importorskip("mcp")
SERVER = f"{sys.executable} -m danlu tools serve"


def reply(body: Body) -> Reply:
    if "天气" in asked(body) and not since(body):
        return calls(("get_weather", {"city": "北京"}))
    return says("25")


def run(*words: str, tools: str = "all", **keys):
    with Scripted(reply) as server:
        there = ["--endpoint", server.url, "--mcp", f"{SERVER} --tools {tools}"]
        done = CliRunner().invoke(command, ["tools", *there, *words], **keys)
        assert done.exit_code == 0, done.exception
        return done, server.bodies


def test_cases_that_need_only_tools_of_the_server_are_played_with_them():
    done, bodies = run("--json", tools="classic")
    assert "6 of 246 cases need only tools that the server has" in done.stderr
    told = json.loads(done.stdout)
    assert told["complete"] and told["settings"]["cases"] == 6
    assert told["metrics"]["all"]["values"]["part"] == 1
    results = [each for body in bodies for each in body["messages"] if each["role"] == "tool"]
    assert json.loads(results[0]["content"])["high"] == 25


def test_the_starter_cases_can_be_played_over_mcp_too():
    done, bodies = run("--json", tools="starter")
    assert json.loads(done.stdout)["settings"]["cases"] == 240
    assert len(bodies) > 240


def test_cases_of_ones_own_and_the_terminal_have_them_too(tmp_path):
    file = tmp_path / "cases.jsonl"
    question = {"user": "北京天气", "calls": [[{"name": "get_weather", "arguments": {"city": "北京"}}]]}
    file.write_text(json.dumps({"id": "1", "tools": ["get_weather"], "questions": [question]}))
    done, bodies = run("--cases", str(file), "--min", "whole=1")
    assert [tool["function"]["name"] for tool in bodies[0]["tools"]] == ["get_weather"]
    done, _ = run("--mode", "interactive", input="北京天气\n")
    assert '-> get_weather({"city": "北京"})' in done.stdout and '"high": 25' in done.stdout
