"""The five metrics of the page: counted exactly, and as the evaluation of the engine counts them."""

import json
import random
import threading

import pytest

from danlu.evaluate.tools import boxes, judge, metrics, ready, settings, talk
from danlu.tools import classic
from scripted_peer import call, refuse, told

pytestmark = pytest.mark.browser

WEATHER = json.loads(classic.toolbox().call("get_weather", {"city": "北京"}))
BROKEN = ["{", "[]", "", "null", '{"city": ""}', '{"city": null}']


def results(request) -> list[str]:
    return [message["content"] for message in request["messages"] if message["role"] == "tool"]


def shares(page) -> dict[str, str]:
    names = page(
        "evaluate", "() => [...document.querySelectorAll('[data-metric]')].map(node => node.dataset.metric)"
    )
    return dict(zip(names, page.texts("[data-metric] .of")))


def test_the_five_metrics_are_counted_exactly(page, peer):
    peer.script(
        *(call("get_weather", city="北京"), "晴，25 度"),  # all right
        *(
            [
                {
                    "tool_calls": [
                        {"index": 0, "id": "a", "function": {"name": "calculate", "arguments": '{"expr'}}
                    ]
                }
            ],
            "?",
        ),
        "现在三点。",  # no call where one is wanted
        *(call("get_weather", city="Beijing"), "the wrong tool"),
        "你好，我是丹炉。",
        *(call("get_weather"), "no city"),
    )
    page("click", "#tab-metrics")
    page("click", "#run-classic")
    page("wait_for_selector", "#run-save")
    wanted = {
        "detection": (4, 5),
        "selection": (3, 4),
        "json": (3, 4),
        "arguments": (2, 4),
        "no_call": (1, 1),
    }
    assert shares(page) == {name: f"{part} of {of}" for name, (part, of) in wanted.items()}
    assert page("inner_text", "[data-metric=json] .rate") == "75 %"
    report = json.loads(page("saved", "#run-save"))
    assert report["metrics"]["all"] == {
        name: {"part": part, "of": of, "value": part / of} for name, (part, of) in wanted.items()
    }
    assert report["complete"] and len(report["cases"]) == 6
    assert report["cases"][0]["messages"][2]["content"] == json.dumps(WEATHER, ensure_ascii=False)
    assert {(request["temperature"], request["max_tokens"]) for request in peer.asked} == {(0, 512)}
    page("click", ".more summary >> nth=0")
    assert "→ get_weather" in page("inner_text", ".trace")


def test_needless_calls_unread_calls_and_refusals_count_against_a_model(page, peer, tmp_path):
    cases = [
        {"id": "chat", "questions": [{"user": "hello"}]},
        {"id": "unread", "questions": [{"user": "sum", "calls": [[{"name": "calculate"}]]}]},
        {"id": "refused", "questions": [{"user": "time", "calls": [[{"name": "get_time"}]]}]},
        {"id": "own", "tools": [{"name": "f"}], "returns": {"f": {"x": 1}}, "failing": {"f": ["busy"]},
         "questions": [{"user": "twice", "calls": [[{"name": "f"}]], "may": [{"name": "f"}]},
                       {"user": "bye"}]},
    ]  # fmt: skip
    file = tmp_path / "cases.jsonl"
    file.write_text("\n".join(map(json.dumps, cases)), encoding="utf-8")

    def answer(handler):
        """By what is asked, for cases run side by side."""
        said = handler.body["messages"]
        asked = [message["content"] for message in said if message["role"] == "user"][-1]
        known = {
            "hello": told("ok" if said[-1]["role"] == "tool" else call("search", query="x")),
            "sum": told('<tool_call>{"na'),
            "time": refuse(400, "the prompt is too long"),
            "twice": told("done" if len(results(handler.body)) == 2 else call("f", f"f{len(said)}")),
            "bye": told("bye"),
        }
        known[asked](handler)

    peer.script(*[answer] * 20)
    page("click", "#tab-metrics")
    page("set_input_files", "#metrics input[type=file]", str(file))
    page("wait_for_selector", "#run-own")
    page("click", "#run-own")
    page("wait_for_selector", "#run-save")
    assert shares(page) == {
        "detection": "2 of 3", "selection": "1 of 2", "json": "1 of 2", "arguments": "1 of 2",
        "no_call": "1 of 2",
    }  # fmt: skip
    assert "the prompt is too long" in page("inner_text", ".grid")


def test_a_run_is_stopped_and_a_server_that_is_gone_ends_it(page, peer):
    peer.script(lambda handler: handler.json({"error": {"message": "no key"}}, 401))
    page("click", "#tab-metrics")
    page("click", "#run-classic")
    page("wait_for_selector", "#metrics .fault")
    assert "no key" in page("inner_text", "#metrics .fault") and len(peer.asked) == 1
    peer.script(lambda handler: handler.rfile.read(1))  # never answers
    page("click", "#run-classic")
    page("click", "#run-stop")
    page("wait_for_selector", "#run-classic")


def test_the_controls_of_the_chat_leave_a_run_alone(page, peer):
    """Whatever they say, even while it runs: it asks with the settings of the evaluation, and no others."""
    page("fill", "#system", "Never call a tool.")
    page("click", "#part-sampling summary")
    for name, value in {"presence_penalty": 1.5, "temperature": 2, "top_p": 0.5, "top_k": 3}.items():
        page("fill", f"#sampling-{name}", str(value))
    page("fill", "#extra", '{"logit_bias": {"5": -1}, "max_tokens": 1}')
    page("evaluate", "() => setSampling('stop', ['{'])")
    page("click", "#think-pill")
    page("select_option", "#tool-choice", "none")
    peer.script("chat", lambda handler: (go_on.wait(60), told("eval")(handler)), *["eval"] * 5)
    go_on = threading.Event()
    page.ask("hello")
    page("click", "#tab-metrics")
    page("click", "#run-classic")
    page("select_option", "#model", "other")
    go_on.set()
    page("wait_for_selector", "#run-save")
    chat, *asked = peer.asked
    assert chat["messages"][0]["role"] == "system" and chat["presence_penalty"] == 1.5
    assert chat["logit_bias"] and chat["stop"] == ["{"] and chat["chat_template_kwargs"]
    assert len(asked) == 6
    fixed = {"model": "tiny", **settings.Settings().as_body()}
    of_streams = {"stream": True, "stream_options": {"include_usage": True}}
    for request in asked:
        assert [message["role"] for message in request["messages"]] == ["user"]
        rest = {name: request[name] for name in request.keys() - {"path", "headers", "messages", "tools"}}
        assert rest == fixed | of_streams


def test_a_cases_own_system_message_is_sent(page, peer, tmp_path):
    file = tmp_path / "cases.jsonl"
    case = {"id": "1", "system": "of the case", "questions": [{"user": "hello"}]}
    file.write_text(json.dumps(case), encoding="utf-8")
    page("fill", "#system", "of the chat")
    peer.script("ok")
    page("click", "#tab-metrics")
    page("set_input_files", "#metrics input[type=file]", str(file))
    page("click", "#run-own")
    page("wait_for_selector", "#run-save")
    assert [message["content"] for message in peer.asked[0]["messages"]] == ["of the case", "hello"]


def test_a_run_ends_when_another_endpoint_is_chosen(page, peer):
    peer.script(lambda handler: handler.rfile.read(1))  # never answers
    page("click", "#tab-metrics")
    page("click", "#run-classic")
    page("wait_for_selector", "#run-stop")
    page("fill", "#endpoint", f"{peer.url}/else")
    page("press", "#endpoint", "Enter")
    page("wait_for_selector", "#run-classic")
    assert len(peer.asked) == 1


def answered(chance: random.Random, question, names: list[str]) -> tuple[list[dict[str, str]], str]:
    """Calls and a text such as a model makes that is often right."""
    calls = [{"name": each.name, "arguments": json.dumps(each.arguments)} for each in question.wanted]
    way = chance.random()
    if way < 0.2:
        return [], chance.choice(["no", "<tool_call>{"])
    if way < 0.4:
        calls.append({"name": chance.choice([*names, "unknown"]), "arguments": "{}"})
    elif way < 0.6 and calls:
        calls[0]["arguments"] = chance.choice(BROKEN)
    elif way < 0.7:
        calls = calls[:-1]
    return calls, "well"


def test_the_page_judges_as_the_evaluation_does(page):
    chance, known = random.Random(7), boxes.toolboxes()
    questions, verdicts = [], []
    for case in ready.all_cases():
        box = boxes.Box(case, known)
        for question in case.questions:
            calls, text = answered(chance, question, list(box.by_name))
            made = [talk.Made(each["name"], each["arguments"], "{}", 0) for each in calls]
            seen = talk.Exchange(made, text, 1, unreadable=text.startswith("<"))
            verdicts.append(judge.judge(question, seen, box.by_name))
            messages = [
                {"role": "assistant", "content": "", "tool_calls": [{"function": each} for each in calls]}
            ]
            answers = [*(messages if calls else []), {"role": "assistant", "content": text}]
            tools = [{"definition": tool, "box": case.toolbox} for tool in box.offered]
            questions.append([question.model_dump(exclude_defaults=True), answers, tools])
    found = page("evaluate", "all => score(all.map(one => judge(...one)))", questions)
    wanted = metrics.measured([[verdict] for verdict in verdicts])
    assert {name: (each["part"], each["of"]) for name, each in found.items()} == {
        name: (wanted[name].part, wanted[name].of) for name in found
    }


def test_a_servers_cases_are_played_with_the_servers_tools(page, peer):
    tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"x": {}}}}}
    peer.documents["/tools"] = {"tools": [tool], "boxes": {"starter": [tool]}}
    one = {"id": "1", "toolbox": "starter", "questions": [{"user": "go", "calls": [[{"name": "f"}]]}]}
    peer.documents["/tools/cases"] = {"cases": [one]}
    peer.posts["/tools/call"] = lambda body: {"result": json.dumps(body)}
    page("reload")
    page("click", "#tab-metrics")
    peer.script(call("f"), "ok")
    page("click", "#run-served")
    page("wait_for_selector", "#run-save")
    assert shares(page)["arguments"] == "0 of 1"  # a starter's tool requires all that it takes
    assert json.loads(results(peer.asked[1])[0]) == {"name": "f", "arguments": {}, "box": "starter"}
