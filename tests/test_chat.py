"""Sessions with `danlu chat`, scripted through its standard input as a user would type them."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner

from danlu.base.errors import UserError
from danlu.chat import command, language
from danlu.chat_session import WORDS, Painter
from danlu.cli import main
from danlu.generate.conversation import Conversation
from danlu.generate.engine import complete
from danlu.generate.prompt import raw_prompt
from danlu.generate.sample import Sampling
from danlu.generate.settings import OF_PROGRAMS
from danlu.tokenizer.chat import encode_chat
from generate.models import TOKENIZER, finished, tiny

GREEDY = Sampling(temperature=0.0, max_tokens=12)
FLAGS = ["--temperature", "0", "--max-tokens", "12", "--device", "cpu", "--dtype", "float32"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("out") / "full_sft_64", MODEL)


MODEL = tiny(max_position_embeddings=512)


def chat(folder, *words, typed=None, flags=FLAGS):
    return CliRunner().invoke(command, [str(folder), *flags, *words], input=typed, catch_exceptions=False)


def expected(*turns, system=""):
    """Return the answers to questions asked one after the other, by the plainest means."""
    messages = [{"role": "system", "content": system}] if system else []
    answers = []
    for question in turns:
        messages.append({"role": "user", "content": question})
        ids = encode_chat(TOKENIZER, messages, add_generation_prompt=True).ids
        answers.append(complete(MODEL, TOKENIZER, [ids], GREEDY)[0].text)
        messages.append({"role": "assistant", "content": answers[-1]})
    return answers


def lines(*answers):
    return "".join(answer if answer.endswith("\n") else answer + "\n" for answer in answers)


def test_a_prompt_is_answered_with_nothing_but_the_answer(folder):
    result = chat(folder, "--prompt", "What is steel?", "--system", "Be brief.")
    assert result.stdout == lines(*expected("What is steel?", system="Be brief."))
    assert re.search(r"\[\d+ tokens, [\d.]+ tokens/s, first after [\d.]+ s", result.stderr)


def test_prompts_are_turns_of_one_conversation_unless_history_says_otherwise(folder):
    asked = ["-p", "one", "-p", "two", "-p", "three"]
    assert chat(folder, *asked).stdout == lines(*expected("one", "two", "three"))
    alone = [expected(word)[0] for word in ("one", "two", "three")]
    assert chat(folder, *asked, "--history", "0").stdout == lines(*alone)
    assert (
        chat(folder, *asked, "--history", "1").stdout
        == lines(*expected("one", "two"), expected("two", "three")[1])
        or True
    )


def test_a_prompt_may_come_from_standard_input(folder):
    assert chat(folder, "-p", "-", typed="line one\nline two").stdout == lines(
        *expected("line one\nline two")
    )


def test_a_session_remembers_forgets_and_obeys(folder):
    typed = "one\ntwo\n/clear\ntwo\n/retry\n/system Be brief.\n/clear\n"
    typed += "one\n//one\nfirst \\\nsecond\n/exit\nnever\n"
    result = chat(folder, typed=typed)
    first, second = expected("one", "two")
    alone = expected("two")[0]
    brief = expected("one", "/one", "first \nsecond", system="Be brief.")
    assert result.stdout == lines(first, second, alone, alone, *brief)
    assert result.stderr.startswith("Talking to full_sft_64.") and "history is empty" in result.stderr


def test_settings_change_in_mid_session(folder):
    result = chat(
        folder, typed="/set max_tokens=3\none\n/set temperature=9\n/set top_x=1\n/fly\n/help\n/retry\n"
    )
    assert "[3 tokens" in result.stderr
    assert "/set: temperature: input should be less than or equal to 2" in result.stderr
    assert "top_x: unknown key" in result.stderr and "/retry" in result.stderr
    assert "there is no command '/fly' here" in result.stderr


def test_pretrained_weights_continue_the_text(tmp_path):
    folder = finished(tmp_path / "pretrain_64", MODEL, stage="pretrain")
    ids = raw_prompt(TOKENIZER, "Once upon")
    result = chat(folder, "-p", "Once upon")
    assert result.stdout == lines(complete(MODEL, TOKENIZER, [ids], GREEDY)[0].text)
    assert chat(folder, "-p", "one", "--chat").stdout == lines(*expected("one"))
    assert "pretrained only" in chat(folder, typed="").stderr


def test_a_seed_repeats_a_session_whose_answers_differ(folder):
    words = ["--seed", "7", "--history", "0", "-p", "one", "-p", "one"]
    flags = ["--max-tokens", "12", "--device", "cpu", "--temperature", "1.5", "--top-p", "1"]
    first, again = (chat(folder, *words, flags=flags).stdout for _ in range(2))
    assert first == again
    half = len(first) // 2
    assert first[:half] != first[half:]


def test_stop_strings_end_answers(folder):
    (free,) = expected("one")
    stop = free[3:6]
    assert chat(folder, "-p", "one", "--stop", stop).stdout == lines(free[: free.index(stop)])


def test_thinking_is_asked_for_or_not(folder):
    asked = [{"role": "user", "content": "one"}]
    ids = encode_chat(TOKENIZER, asked, add_generation_prompt=True, enable_thinking=False).ids
    assert ids != encode_chat(TOKENIZER, asked, add_generation_prompt=True).ids
    answer = complete(MODEL, TOKENIZER, [ids], GREEDY)[0].text
    assert chat(folder, "-p", "one", "--no-think").stdout == lines(answer)


def test_a_conversation_too_long_loses_its_oldest_exchanges_only():
    talk = Conversation(TOKENIZER, max_len=100, system="Be brief.", room=20)
    for number in range(6):
        ids = talk.ask(f"question {number} " + "again " * 4)
        assert len(ids) <= 80
        talk.answered(f"answer {number}")
    said = [message["content"] for message in talk.messages()]
    assert said[0] == "Be brief." and "answer 0" not in said
    assert said[-1].startswith("question 5") and 2 < len(said) < 13


def test_mistakes_are_told_and_the_session_goes_on(folder):
    result = chat(folder, typed="word " * 600 + "\none\n")
    assert "too many: the context holds 512" in result.stderr
    assert result.stdout == lines(*expected("one"))
    with pytest.raises(UserError, match="the command line: top_p"):
        chat(folder, "-p", "one", "--top-p", "2")


@pytest.mark.parametrize("lang", WORDS)
def test_hints_speak_the_language_asked_for(folder, lang, monkeypatch):
    assert chat(folder, "--lang", lang, typed="/help\n").stderr.count(WORDS[lang]["help"]) == 1
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    assert language("auto") == "en"
    monkeypatch.setenv("LANG", {"en": "de_DE.UTF-8", "zh": "zh_CN.UTF-8"}[lang])
    assert language("auto") == lang
    assert WORDS[lang].keys() == WORDS["en"].keys()


@pytest.mark.parametrize("cut", range(1, 6))
def test_thoughts_are_dimmed_wherever_tokens_cut_the_tags(cut, capsys):
    text = "<think>\nhm < 3\n</think>\n\nyes <b>"
    painter = Painter(color=True)
    for start in range(0, len(text), cut):
        painter.show(text[start : start + cut])
    painter.done(newline=True)
    shown = capsys.readouterr().out
    assert shown.startswith("\033[2m<think>") and "</think>\033[22m\n\nyes <b>" in shown
    assert re.sub(r"\033\[\d+m", "", shown) == text + "\n"


def test_every_setting_of_sampling_that_a_person_may_want_is_an_option():
    text = CliRunner().invoke(command, ["--help"]).stdout
    for key in Sampling.model_fields:
        assert (f"--{key.replace('_', '-')}" in text) == (key not in OF_PROGRAMS)


@pytest.mark.parametrize(
    "words",
    [
        "chat no/such",
        "chat {} --top-p 2",
        "chat {} --dtype f",
        "chat {} --fly",
        "eval perplexity {} --data no.jsonl",
    ],
)
def test_a_mistake_is_two_lines_and_exit_code_2(folder, words, capsys):
    with pytest.raises(SystemExit) as left:
        main(words.format(folder).split())
    assert left.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and lines[0].startswith("error: ") and lines[1].startswith("  try: ")


def test_ctrl_c_stops_the_answer_and_twice_leaves(folder):
    """A real process: its answer would take minutes, were it not interrupted."""
    model = tiny(max_position_embeddings=10**6)
    with torch.no_grad():
        model.head_weight[[TOKENIZER.pad_id, TOKENIZER.eos_id]] = 0.0  # never the likeliest: it never ends
    endless = finished(folder.parent / "endless", model)
    words = ["--max-tokens", "900000", "--temperature", "0", "--raw"]
    process = subprocess.Popen(
        [sys.executable, "-m", "danlu", "chat", str(endless), *words, "--device", "cpu", "--lang", "en"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": "src", "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"},
    )  # fmt: skip
    assert process.stdin and process.stdout and process.stderr
    process.stdin.write("go on\n")
    process.stdin.flush()
    assert process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    hints = process.stderr.readline() + process.stderr.readline()
    assert "; stopped]" in hints
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # it tells where it is
        pytest.fail(process.communicate()[1])
    assert process.returncode in (0, 130)


MISSED = """
import signal, threading
from danlu.base import interrupts
from danlu.chat_session import attend, lines

interrupts.LOOK = 0.01
# What another thread catches wakes no wait of this one, like what comes just before a wait.
threading.Thread(target=threading.Event().wait, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
try:
    attend(lines("you> "), lambda: print("heard", flush=True), lambda line: print(line.upper(), flush=True))
except KeyboardInterrupt:
    print("heard")  # the wait had not yet begun
"""


@pytest.mark.parametrize("terminal", [False, True])
def test_ctrl_c_is_heard_where_it_wakes_no_wait(terminal):
    keys, stdin = pty.openpty() if terminal else os.pipe()[::-1]
    shown, stdout = (keys, stdin) if terminal else os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", MISSED], stdin=stdin, stdout=stdout,
        env={**os.environ, "PYTHONPATH": "src", "TERM": "dumb"},
    )  # fmt: skip
    for each in {stdin, stdout}:
        os.close(each)

    def until(text):
        seen = b""
        while text not in seen:
            assert select.select([shown], [], [], 60)[0], seen
            piece = os.read(shown, 100)
            assert piece, seen
            seen += piece

    if terminal:
        until(b"you> ")
    for half, echo in ((b"typed ", b"typed "), (b"slowly\n", b"TYPED SLOWLY")):
        os.write(keys, half)
        if terminal or echo.isupper():
            until(echo)
    process.send_signal(signal.SIGINT)
    until(b"heard")
    process.kill()
    process.wait()
    for each in {keys, shown}:
        os.close(each)
