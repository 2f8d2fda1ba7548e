"""The terminal: scripted lines go in, calls and answers come out, and every call runs once."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from danlu.eval import command
from evaluate.scripted import Body, Reply, Scripted, asked, calls, says, since


def reply(body: Body) -> Reply:
    if asked(body) == "time?" and not since(body):
        return calls(("calculate", {"expression": "6 * 7"}), ("calculate", '{"expression"'))
    if asked(body) == "break":
        return (500, {}, b"oops")
    return says(f"answer to {asked(body)}")


def typed(lines: str, *words: str):
    with Scripted(reply) as server:
        options = ["tools", "--endpoint", server.url, "--mode", "interactive", *words]
        done = CliRunner().invoke(command, options, input=lines)
        assert done.exit_code == 0, done.exception
        return done, server.bodies


def test_each_call_is_shown_with_its_result_and_all_of_it_stays_in_the_history():
    done, bodies = typed("time?\nand now\nquit\nnever\n", "--lang", "en")
    assert done.stdout.splitlines() == [
        '  -> calculate({"expression": "6 * 7"})',
        '  <- {"result": "42"}',
        '  -> calculate({"expression")',
        *[line for line in done.stdout.splitlines() if "no JSON" in line],
        "answer to time?",
        "answer to and now",
    ]
    roles = [message["role"] for message in bodies[-1]["messages"]]
    assert roles == ["user", "assistant", "tool", "tool", "assistant", "user"]
    assert len(bodies) == 3 and "[2 calls, 2 answers of the model]" in done.stderr


@pytest.mark.parametrize("leave", ["quit", "exit", "q", "/quit", "/exit", "/q"])
def test_one_leaves_with_any_of_these_words(leave):
    done, bodies = typed(f"one\n{leave}\ntwo\n")
    assert len(bodies) == 1


def test_clear_forgets_and_tools_are_told():
    done, bodies = typed("one\n/clear\ntwo\n/tools\n/help\n/hammer\n", "--lang", "en")
    assert [message["content"] for message in bodies[-1]["messages"]] == ["two"]
    assert "get_weather(city)" in done.stdout and "history is empty" in done.stderr
    assert "there is no command '/hammer'" in done.stderr


def test_an_error_is_said_and_the_question_forgotten():
    done, bodies = typed("one\nbreak\ntwo\n")
    assert "answers 500" in done.stderr
    contents = [message["content"] for message in bodies[-1]["messages"]]
    assert contents == ["one", "answer to one", "two"]


def test_hints_are_said_in_chinese_and_other_tools_can_be_had():
    done, _ = typed("/tools\n/clear\n", "--lang", "zh", "--toolbox", "starter")
    assert "历史已清空" in done.stderr and "convert_unit(value, to)" in done.stdout
