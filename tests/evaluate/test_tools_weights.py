"""A model in this process is asked as a server asks it, and says the same."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from danlu.base.errors import UserError
from danlu.eval import command
from danlu.evaluate.load import provenance
from danlu.evaluate.tools import ready
from danlu.evaluate.tools.settings import Settings
from danlu.evaluate.tools.talk import Ask, Refused
from danlu.evaluate.tools.weights import Weights, as_template
from evaluate.test_load import run as training_run
from generate.models import finished
from serve.servers import MODEL, serving


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("weights") / "sft", MODEL)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """A few cases of every kind, one of them with a prompt that no context holds."""
    path = tmp_path_factory.mktemp("cases") / "cases.jsonl"
    some = [*list(ready.starter_cases(1))[::3], *ready.all_cases()[:1]]
    long = some[0].model_copy(update={"id": "long", "system": "word " * 600})
    path.write_text("".join(case.model_dump_json(exclude_defaults=True) + "\n" for case in [*some, long]))
    return path


def report(out, *words: str) -> dict:
    done = CliRunner().invoke(command, ["tools", *words, "--out", str(out), "--max-tokens", "6"])
    assert done.exit_code == 0, done.exception
    return json.loads(out.read_text())


def test_weights_here_and_behind_our_server_lead_to_one_report(folder, cases, tmp_path):
    here = report(tmp_path / "here.json", str(folder), "--cases", str(cases), "--dtype", "float32")
    with serving() as server:
        there = report(tmp_path / "there.json", "--endpoint", server.url, "--cases", str(cases))
    for key in ("metrics", "turns"):
        assert here[key] == there[key]
    for one, other in zip(here["cases"], there["cases"]):
        assert one["messages"] == other["messages"]
        assert ("refused" in one) == ("refused" in other)
    assert [case["id"] for case in here["cases"] if "refused" in case][-1:] == ["long"]
    assert any(message["content"] for case in here["cases"] for message in case["messages"][1:])


def test_a_run_is_asked_as_its_weights_are(folder, cases, tmp_path):
    run = training_run(tmp_path / "run", MODEL, steps=(0,))
    options = ("--cases", str(cases), "--dtype", "float32", "--limit", "4")
    first, second = (report(tmp_path / "report.json", str(path), *options) for path in (folder, run))
    assert [case["messages"] for case in first["cases"]] == [case["messages"] for case in second["cases"]]


@pytest.mark.parametrize("tag_weight", [1.0, 10.0])
def test_a_run_s_answers_are_read_as_its_export_s_are(tag_weight, tmp_path):
    """Thoughts are looked for where they were taught, whatever the template can write."""
    run = training_run(tmp_path / "run", MODEL, steps=(0,))
    settings = run / "config.yaml"
    settings.write_text(settings.read_text() + f"tag_weight: {tag_weight}\n")
    export = finished(tmp_path / "export", MODEL)
    (export / "run.json").write_text(json.dumps(provenance(run)))
    read = [Weights(place, Settings(), 1, "cpu").about["reasoning_parser"] for place in (run, export)]
    assert read[0] == read[1] and bool(read[0]) == (tag_weight > 1)


def test_one_question_is_answered_or_refused(folder):
    weights = Weights(folder, Settings(max_tokens=4), 1, "cpu", "float32")
    ask = Ask([{"role": "user", "content": "hello"}], None)
    assert weights.ask(ask) == weights.ask(ask)
    with pytest.raises(Refused, match="too many"):
        weights.ask(Ask([{"role": "user", "content": "hello " * 600}], None))
    assert weights.ask(ask).content


def test_a_template_without_calls_is_refused(folder, tmp_path):
    plain = finished(tmp_path / "plain", MODEL)
    (plain / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    with pytest.raises(UserError, match="writes no calls"):
        Weights(plain, Settings(), 1, "cpu")


def test_a_template_reads_arguments_as_objects_and_none_where_they_are_broken():
    def message(arguments):
        return {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}

    given = [message('{"x": "北京"}'), message('{"x'), message("[1]"), {"role": "user", "content": "?"}]
    read = as_template(given)
    assert [each["tool_calls"][0]["function"]["arguments"] for each in read[:3]] == [{"x": "北京"}, {}, {}]
    assert read[3] is given[3] and given[1] == message('{"x')
