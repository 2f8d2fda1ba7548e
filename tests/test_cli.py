"""The command line answers at once, helps, and turns every mistake into two lines and exit code 2."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from danlu import cli


def danlu(*words, **options):
    return subprocess.run([sys.executable, "-m", "danlu", *words], capture_output=True, text=True, **options)


def test_help_answers_at_once():
    danlu("--help")  # bytecode is compiled once
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        done = danlu("--help")
        taken.append(time.perf_counter() - began)
    assert done.returncode == 0
    assert all(name in done.stdout for name in cli.COMMANDS)
    assert min(taken) < 0.2, f"{taken}: something heavy is imported before it is needed"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_worth_reading(name, capsys):
    cli.main([name, "--help"])
    assert len(capsys.readouterr().out.splitlines()) > 8


@pytest.mark.parametrize(
    ("words", "problem", "hint"),
    [
        (["trian"], "there is no command 'trian'", "did you mean 'train'?"),
        (["train"], "Missing argument", "--help"),
        (["train", "pretrian"], "there is no stage 'pretrian'", "did you mean 'pretrain'?"),
        (["train", "nothere.yaml"], "no such file", ""),
        (["train", "sft", "optim.lrr=1"], "optim.lrr: unknown key", "did you mean 'optim.lr'?"),
        (["train", "sft", "batch_tokens=100"], "cannot hold one row", "batch_tokens=768"),
        (["train", "sft", "seq_len=abc"], "seq_len", ""),
        (["train", "sft"], "data.train: is not set", "data.train=FILE.jsonl"),
        (["train", "sft", "data.train=absent.jsonl"], "absent.jsonl", ""),
        (["train", "sft", "model=27m"], "27m", "26m"),
        (["train", "sft", "model.hidden_sizes=3"], "hidden_sizes", "hidden_size"),
        (["train", "sft", "from=out/absent"], "out/absent", ""),
        (["train", "sft", "device=npu"], "npu", ""),
        (["config", "nope"], "there is no stage 'nope'", ""),
    ],
)
def test_mistakes_get_two_lines_and_exit_2(words, problem, hint, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        cli.main(words)
    said = capsys.readouterr().err.strip().splitlines()[-2:]
    assert left.value.code == 2, said
    assert said[0].startswith("error: ") and problem in said[0]
    assert said[1].startswith("  try: ") and hint in said[1]
    assert not (tmp_path / "out").exists()


def test_config_prints_every_key_with_its_meaning(capsys):
    cli.main(["config", "sft", "optim.lr=1e-4"])
    said = capsys.readouterr().out
    assert "optim.lr = 0.0001" in said
    assert "batch_tokens = " in said
    assert "model.hidden_size" in said
    lines = said.splitlines()
    assert all(lines[i + 1].strip() for i in range(0, len(lines), 2)), "a key without a meaning"


def test_config_prints_a_schema_a_form_can_use(capsys):
    import json

    cli.main(["config", "sft", "--json-schema"])
    schema = json.loads(capsys.readouterr().out)
    assert schema["properties"]["seq_len"]["description"].startswith("Longest row")
    assert schema["additionalProperties"] is False


def test_a_printed_file_configures_the_same_run(capsys, tmp_path):
    for words in (["config", "reason", "--yaml"], ["config", str(tmp_path / "mine.yaml"), "--yaml"]):
        cli.main(words)
        text = capsys.readouterr().out
        if not (tmp_path / "mine.yaml").exists():
            (tmp_path / "mine.yaml").write_text(text)
    assert text == (tmp_path / "mine.yaml").read_text()


CUT_SHORT = """
import os, signal
import click
from danlu.base.commands import run

@click.command()
def group():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        pass
    raise RecursionError("a module that is half there")

run(group, "x")
"""


def test_what_fails_because_ctrl_c_cut_it_short_was_stopped():
    """An import that is cut short may swallow it, and fail later in a way of its own."""
    words = [sys.executable, "-c", CUT_SHORT]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": "src"})
    assert (done.returncode, done.stderr) == (130, "stopped\n")
    fails = [*words[:2], CUT_SHORT.replace("os.kill(os.getpid(), signal.SIGINT)", "pass")]
    done = subprocess.run(fails, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": "src"})
    assert done.returncode == 1 and "RecursionError" in done.stderr
