"""The agent loop of the page: calls are run, results go back, and all of it stands there as a timeline."""

import json
import math
import random
from datetime import datetime, timezone

import pytest

from danlu.tools import classic
from scripted_peer import call

pytestmark = pytest.mark.browser

WEATHER = json.loads(classic.toolbox().call("get_weather", {"city": "北京"}))


def results(request) -> list[str]:
    return [message["content"] for message in request["messages"] if message["role"] == "tool"]


def test_the_model_calls_the_tool_runs_and_the_answer_follows(page, peer):
    peer.script([{"reasoning_content": "I look."}, *call("get_weather", city="北京")], "晴，25 度。")
    page.ask("北京今天天气怎么样？")
    assert page.texts(".call .name") == ["get_weather"]
    assert page.texts(".call dd") == ['{"city": "北京"}', json.dumps(WEATHER, ensure_ascii=False)]
    assert page.texts(".looped .step.round") == ["Round 1", "Final answer"]
    assert page.texts(".prose") == ["晴，25 度。"] and "✓" in page("inner_text", ".call .state")
    first, second = peer.asked
    asked = {"name": "get_weather", "arguments": '{"city": "北京"}'}
    assert [tool["function"]["name"] for tool in first["tools"]] == [
        "get_weather",
        "calculate",
        "search",
        "get_time",
    ]
    assert second["messages"] == [
        {"role": "user", "content": "北京今天天气怎么样？"},
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "I look.",
            "tool_calls": [{"id": "call_1", "type": "function", "function": asked}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": json.dumps(WEATHER, ensure_ascii=False)},
    ]
    page("reload")
    page.sees("25 度。")
    assert page.texts(".call dd")[0] == '{"city": "北京"}'


def test_several_calls_of_one_answer_run_in_order(page, peer):
    both = [*call("calculate", "a", 0, expression="6*7"), *call("get_weather", "b", 1, city="London")]
    peer.script(both, "done")
    page.ask("go")
    assert page.texts(".call .name") == ["calculate", "get_weather"]
    tools = [message for message in peer.asked[1]["messages"] if message["role"] == "tool"]
    assert [message["tool_call_id"] for message in tools] == ["a", "b"]
    assert [json.loads(text) for text in results(peer.asked[1])] == [
        {"result": "42"},
        classic.get_weather("London"),
    ]


def test_after_three_rounds_the_model_answers_without_tools(page, peer):
    peer.script(*[call("calculate", f"c{at}", expression=f"{at}+1") for at in range(3)], "enough")
    page.ask("count")
    assert ["tools" in request for request in peer.asked] == [True, True, True, False]
    assert page.texts(".looped .step.round") == ["Round 1", "Round 2", "Round 3", "Final answer"]
    assert results(peer.asked[3]) == ['{"result": "1"}', '{"result": "2"}', '{"result": "3"}']


def test_what_is_wrong_with_a_call_is_told_to_the_model(page, peer):
    def broken(arguments, name="calculate"):
        function = {"name": name, "arguments": arguments}
        return [{"tool_calls": [{"index": 0, "id": "x", "type": "function", "function": function}]}]

    peer.script(broken('{"expression": '), broken("[1]"), broken("{}", "fly"), "sorry")
    page.ask("go")
    told_back = [json.loads(text)["error"] for text in results(peer.asked[3])]
    assert told_back[0].startswith("the arguments are no JSON")
    assert told_back[1].startswith("the arguments are not an object")
    assert told_back[2] == "there is no tool 'fly'; one of: calculate, get_time, get_weather, search"
    assert page("evaluate", "() => document.querySelectorAll('.call .state.bad').length") == 3


def test_tools_are_switched_off_one_by_one_and_all_together(page, peer):
    peer.script("one", "two")
    page("uncheck", "[data-tool=search]")
    page.ask("1")
    assert [tool["function"]["name"] for tool in peer.asked[0]["tools"]] == [
        "get_weather",
        "calculate",
        "get_time",
    ]
    page("click", "#tools-pill")
    page.ask("2")
    assert "tools" not in peer.asked[1]


def test_a_choice_of_tool_is_for_the_first_round(page, peer):
    page("select_option", "#tool-choice", "calculate")
    peer.script(call("calculate", expression="1+1"), "2")
    page.ask("go")
    assert peer.asked[0]["tool_choice"] == {"type": "function", "function": {"name": "calculate"}}
    assert "tool_choice" not in peer.asked[1]


def test_a_server_that_runs_tools_runs_them(page, peer):
    boxes = {
        "classic": classic.toolbox().definitions(),
        "starter": [{"type": "function", "function": {"name": "f"}}],
    }
    peer.documents["/tools"] = {"tools": boxes["classic"], "boxes": boxes}
    peer.posts["/tools/call"] = lambda body: {
        "result": json.dumps({"box": body["box"], "got": body["arguments"]})
    }
    page("reload")
    page("wait_for_selector", "#box option[value=starter]", state="attached")
    page("select_option", "#box", "starter")
    assert page.texts(".tool b") == ["f"]
    peer.script(call("f", x=1), "ok")
    page.ask("go")
    assert results(peer.asked[1]) == ['{"box": "starter", "got": {"x": 1}}']
    assert "server" in page("inner_text", ".call .state")


def test_a_tool_of_ones_own_answers_as_written_or_as_asked(page, peer):
    one = {"type": "function", "function": {"name": "book"}, "result": {"booked": True}}
    other = {"type": "function", "function": {"name": "ask_me", "parameters": {"type": "object"}}}
    page("fill", "#own-tools", json.dumps([one, other]))
    assert page.texts(".tool b")[-2:] == ["book", "ask_me"]
    peer.script([*call("book", "a", 0), *call("ask_me", "b", 1)], "ok")
    page("fill", "#input", "go")
    page("press", "#input", "Enter")
    page("fill", ".call textarea", '{"mine": 1}')
    page("click", ".call form button")
    page.sees("ok")
    page.done()
    assert results(peer.asked[1]) == ['{"booked": true}', '{"mine": 1}']
    page("fill", "#own-tools", '[{"function": {}}]')
    assert page("inner_text", "#own-said").startswith("Tool 1:")


def test_a_call_waits_for_consent_where_that_is_wanted(page, peer):
    page("check", "#ask-first")
    peer.script(
        [*call("calculate", "a", 0, expression="1+1"), *call("calculate", "b", 1, expression="2+2")], "ok"
    )
    page("fill", "#input", "go")
    page("press", "#input", "Enter")
    page("click", "text=Do not run")
    page("click", ".call form .button.main")
    page.done()
    assert results(peer.asked[1]) == ['{"error": "the user declined this call"}', '{"result": "4"}']


def test_a_stop_while_a_call_waits_leaves_a_conversation_that_goes_on(page, peer):
    page("check", "#ask-first")
    peer.script(call("calculate", expression="1+1"), "well")
    page("fill", "#input", "go")
    page("press", "#input", "Enter")
    page("wait_for_selector", ".call form")
    page("click", "#stop")
    page.done()
    page.ask("never mind")
    assert [message["content"] for message in peer.asked[1]["messages"]] == ["go", "never mind"]


def mcp(body):
    """A server of the Model Context Protocol, as short as it can be."""
    method, params = body["method"], body.get("params", {})
    tool = {"name": "shout", "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}}}
    told = {
        "initialize": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "serverInfo": {"name": "loud", "version": "2"},
        },
        "tools/list": {"tools": [tool]} if params.get("cursor") else {"tools": [], "nextCursor": "more"},
        "tools/call": {
            "content": [{"type": "text", "text": params.get("arguments", {}).get("text", "").upper()}]
        },
    }
    return {"jsonrpc": "2.0", "id": body.get("id"), "result": told.get(method)}


def test_tools_come_from_an_mcp_server_and_ask_first(page, peer):
    peer.posts["/mcp"] = mcp
    page("check", "input[name=tools-from][value=mcp]")
    page("fill", "#mcp-url", f"{peer.url}/mcp")
    page("click", "#mcp-connect")
    page.sees("loud 2: 1 tools")
    peer.script(call("shout", text="hi"), "HI!")
    page("fill", "#input", "shout")
    page("press", "#input", "Enter")
    page("click", ".call form .button.main")
    page.sees("HI!")
    page.done()
    assert results(peer.asked[1]) == ["HI"]
    assert peer.asked[0]["tools"][0]["function"]["parameters"]["properties"] == {"text": {"type": "string"}}
    methods = [request["method"] for request in peer.requests if request["path"] == "/mcp"]
    assert methods == ["initialize", "notifications/initialized", "tools/list", "tools/list", "tools/call"]
    versions = [
        request["headers"].get("MCP-Protocol-Version")
        for request in peer.requests
        if request["path"] == "/mcp"
    ]
    assert versions[0] is None and set(versions[1:]) == {"2025-06-18"}


def cases_of_tools() -> list[tuple[str, dict]]:
    """Calls of every kind, right and wrong."""
    world = classic.world()
    cities = [name for city in world["cities"] for name in (city["zh"] + "市", f"{city['en'][0].lower()}, X")]
    queries = [each[language]["title"] for each in world["facts"] for language in ("zh", "en")]
    odd = [
        ("get_weather", given)
        for given in ({}, {"city": 3}, {"town": "x"}, {"city": None}, {"city": [1], "x": 2})
    ]
    found = [("get_weather", {"city": name}) for name in [*cities, "Atlantis", "火星", "", "请问北京的天气"]]
    return [
        *found,
        *odd,
        *[("search", {"query": query}) for query in [*queries, "", "the of", "长城的历史", "zzz"]],
    ]


RUN = """calls => calls.map(([name, given]) => toolJson(
    misfit(given, DATA.tools.find(tool => tool.function.name === name)) ?? PAGE_TOOLS[name](given)))"""


def test_the_pages_tools_answer_to_the_letter_as_the_engines(page):
    calls = cases_of_tools()
    box = classic.toolbox()
    found = page("evaluate", RUN, calls)
    assert [pair for pair in zip(calls, found) if pair[1] != box.call(*pair[0])] == []


SUMS = [
    "5² + 2³",
    *("1/3", "（6+4）×5", "0.1+0.2", "-7//2", "-7%3", "2**-2", "-2**2", "7/2=", "1e21/3", "2^10", "10**400"),
    *(
        "round(2.5)",
        "round(-2.675,2)",
        "sqrt(4/9)",
        "sqrt(2)",
        "factorial(25)",
        "min(1,2/3)",
        "log(8,2)",
        "pi*2",
        "0",
    ),
]
NO_SUMS = [
    "2**10**10",
    "1/0",
    "x+1",
    "__import__('os')",
    "f(2)",
    "sqrt(1,2)",
    "2 3",
    "",
    "(",
    "1,2",
    "'a'",
    "sqrt(-1)",
]


def made_up(chance: random.Random, depth: int) -> str:
    if not depth or chance.random() < 0.2:
        return chance.choice(["3", "17", "0.25", "1e3", "123456789012345678901", ".5", "0", "1"])
    way = chance.choice(
        ["{}+{}", "{} - {}", "{}*{}", "{} ÷ {}", "{}//{}", "{}%{}", "-{1}", "({0})", "abs({0})", "sqrt({1})"]
    )
    return way.format(made_up(chance, depth - 1), made_up(chance, depth - 1))


def test_the_page_reckons_as_the_engine_does(page):
    chance = random.Random(5)
    sums = [*SUMS, *NO_SUMS, *[made_up(chance, 4) for _ in range(300)]]
    found = [
        json.loads(text)
        for text in page("evaluate", RUN, [("calculate", {"expression": each}) for each in sums])
    ]
    for each, got in zip(sums, found):
        wanted = classic.calculate(each)
        assert got.keys() == wanted.keys(), each
        if "result" in wanted and got != wanted:  # a browser's square roots may differ in the last digit
            assert math.isclose(float(got["result"]), float(wanted["result"]), rel_tol=1e-12), each


@pytest.mark.parametrize("moment", [datetime(2026, 1, 15, 12, 30, 59), datetime(2026, 7, 31, 23, 59)])
def test_the_page_tells_the_time_as_the_engine_does(page, moment):
    moment = moment.replace(tzinfo=timezone.utc)
    zones = [
        "Asia/Shanghai",
        "America/New_York",
        "上海",
        "London",
        "UTC",
        "utc+8",
        "GMT-3:30",
        "+05:30",
        "UTC+15",
        "Nowhere",
    ]
    ask = "([zones, at]) => zones.map(zone => timeIn(zone, new Date(at)))"
    assert page("evaluate", ask, [zones, moment.timestamp() * 1000]) == [
        classic.get_time(zone, lambda: moment) for zone in zones
    ]
    assert page("evaluate", "at => timeIn('', new Date(at)).time.length", moment.timestamp() * 1000) == 19
