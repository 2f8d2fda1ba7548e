"""Whole runs through the command line: what a user sees, and what lies on the disk afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from corpus import chats, texts
from danlu import cli

SMALL = [
    "model=tiny",
    "model.num_hidden_layers=2",
    "seq_len=64",
    "batch_tokens=512",
    "device=cpu",
    "dtype=float32",
]


def train(*words):
    cli.cli.main(args=["train", *words], standalone_mode=False)


def fails(*words) -> list[str]:
    """Return the two lines with which a command refuses."""
    done = subprocess.run([sys.executable, "-m", "danlu", *words], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    return done.stderr.strip().splitlines()[-2:]


def stepping(*words) -> subprocess.Popen[str]:
    """Return a run in `run` that has taken its first step."""
    process = subprocess.Popen(
        [sys.executable, "-m", "danlu", "train", *words], stderr=subprocess.PIPE, text=True
    )
    while not os.path.exists("run/metrics.jsonl") or not os.path.getsize("run/metrics.jsonl"):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    return process


def metrics(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts(tmp_path / "corpus.jsonl")
    return tmp_path


def test_pretrain_then_sft_then_reason(folder):
    train("pretrain", *SMALL, "data.train=corpus.jsonl", "epochs=4", "optim.lr=3e-3", "run_dir=runs/a")
    lines = metrics(folder / "runs/a")
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]
    assert {"step", "loss", "lr", "tokens", "tokens_per_s", "memory", "time"} <= lines[-1].keys()
    done = folder / "out/pretrain_128"
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja", "run.json"} <= {
        path.name for path in done.iterdir()
    }
    assert json.loads((done / "run.json").read_text())["stage"] == "pretrain"

    chats(folder / "chats.jsonl")
    chats(folder / "held.jsonl", rows=10, seed=1)
    train("sft", "from=out/pretrain_128", "data.train=chats.jsonl", "data.valid=held.jsonl", "seq_len=64",
          "batch_tokens=512", "device=cpu", "dtype=float32", "epochs=1", "run_dir=runs/b")  # fmt: skip
    assert metrics(folder / "runs/b")[-1]["valid_loss"] > 0
    provenance = json.loads((folder / "out/full_sft_128/run.json").read_text())
    assert provenance["from"]["name"] == "pretrain_128"

    chats(folder / "thoughts.jsonl", rows=30, thinking=True)
    train("reason", "from=out/full_sft_128", "data.train=thoughts.jsonl", "seq_len=96", "batch_tokens=512",
          "device=cpu", "dtype=float32", "run_dir=runs/c")  # fmt: skip
    assert (folder / "out/reason_128/model.safetensors").exists()


def test_from_starts_at_the_finished_weights(folder):
    train("pretrain", *SMALL, "data.train=corpus.jsonl", "steps=2", "optim.lr=1e-2", "run_dir=runs/a")
    train("pretrain", *SMALL, "data.train=corpus.jsonl", "steps=1", "optim.lr=1e-12", "run_dir=runs/b",
          "from=out/pretrain_128", "name=again")  # fmt: skip
    before, after = (
        load_file(folder / "out" / name / "model.safetensors") for name in ("pretrain_128", "again")
    )
    for name in before:
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-9)
    problem, hint = fails("train", "pretrain", "model=26m", "from=out/again", "data.train=corpus.jsonl")
    assert "another model" in problem and "model=" in hint


def test_the_saved_configuration_runs_exactly_again(folder):
    train("pretrain", *SMALL, "data.train=corpus.jsonl", "steps=3", "run_dir=runs/a")
    train("runs/a/config.yaml")
    (again,) = (folder / "runs/pretrain_128").iterdir()
    assert [line["loss"] for line in metrics(folder / "runs/a")] == [line["loss"] for line in metrics(again)]
    assert (folder / "runs/a/config.yaml").read_text() == (again / "config.yaml").read_text()


def test_another_architecture_at_the_same_name_is_refused_at_the_start(folder):
    train("pretrain", *SMALL, "data.train=corpus.jsonl", "steps=1", "run_dir=runs/a")
    before = (folder / "out/pretrain_128/model.safetensors").read_bytes()
    problem, hint = fails(
        "train", "pretrain", *SMALL, "model.num_hidden_layers=1", "data.train=corpus.jsonl", "steps=1"
    )
    assert "another architecture" in problem and "name=" in hint
    assert (folder / "out/pretrain_128/model.safetensors").read_bytes() == before


def test_a_changed_setting_is_shown_and_refused_or_accepted(folder):
    words = ["pretrain", *SMALL, "data.train=corpus.jsonl", "run_dir=runs/a"]
    train(*words, "steps=2")
    problem, hint = fails("train", *words, "steps=4", "optim.lr=1e-4", "resume=true")
    assert "steps 2 -> 4" in problem and "optim.lr" in problem and "accept_changes=true" in hint
    train(*words, "steps=4", "resume=true", "accept_changes=true")
    assert [line["step"] for line in metrics(folder / "runs/a")] == [1, 2, 3, 4]


def test_folders_that_cannot_be_written_are_refused_before_training(folder):
    (folder / "blocked").write_text("a file")
    for words in (["out=blocked/x"], ["run_dir=blocked/x"], ["run_dir=/proc/none"]):
        problem, hint = fails("train", "pretrain", *SMALL, "data.train=corpus.jsonl", "steps=1", *words)
        assert words[0].partition("=")[2].split("/")[0] in problem and "folder" in hint + problem
    assert not (folder / "out").exists()


def test_a_complete_run_resumed_keeps_its_checkpoint_as_it_is(folder):
    words = [
        "pretrain",
        *SMALL,
        "data.train=corpus.jsonl",
        "data.valid=corpus.jsonl",
        "run_dir=runs/a",
        "steps=2",
    ]
    train(*words)
    before = (folder / "runs/a/step-000002/manifest.json").read_bytes()
    train(*words, "resume=true")
    assert (folder / "runs/a/step-000002/manifest.json").read_bytes() == before


def test_resume_without_a_folder_takes_the_newest_run_that_has_a_checkpoint(folder):
    words = ["pretrain", *SMALL, "data.train=corpus.jsonl"]
    train(*words, "steps=2")
    (folder / "runs/pretrain_128/99990101-000000").mkdir()
    (folder / "runs/pretrain_128/99990101-000000/config.yaml").write_text("")
    train(*words, "steps=3", "resume=true", "accept_changes=true")
    run = next(path.parent for path in (folder / "runs/pretrain_128").glob("*/latest"))
    assert [line["step"] for line in metrics(run)] == [1, 2, 3]


def test_a_run_folder_is_never_overwritten(folder):
    words = ["pretrain", *SMALL, "data.train=corpus.jsonl", "run_dir=runs/a", "steps=1"]
    train(*words)
    problem, hint = fails("train", *words)
    assert "already holds a run" in problem and "resume=true" in hint


def test_a_tokenizer_larger_than_the_model_is_refused(folder):
    problem, hint = fails("train", "pretrain", *SMALL, "model.vocab_size=1000", "data.train=corpus.jsonl")
    assert "1000" in problem and "model.vocab_size=2048" in hint


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_leaves_and_resume_goes_on(folder, number):
    texts(folder / "corpus.jsonl", rows=2000)
    words = ["pretrain", *SMALL, "data.train=corpus.jsonl", "run_dir=run", "steps=100000"]
    process = stepping(*words)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 0, said
    assert "saving after this step" in said and "resume=true" in said
    stopped = metrics(folder / "run")[-1]["step"]
    assert (folder / "run/latest").read_text().strip() == f"step-{stopped:06d}"
    assert not (folder / "out").exists()


def test_a_second_signal_leaves_at_once(folder):
    texts(folder / "corpus.jsonl", rows=2000)
    words = ["pretrain", *SMALL, "data.train=corpus.jsonl", "run_dir=run", "steps=100000"]
    process = stepping(*words)
    os.kill(process.pid, signal.SIGSTOP)  # both arrive before the step is over
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    os.kill(process.pid, signal.SIGCONT)
    process.communicate(timeout=60)
    assert process.returncode > 128


def test_the_time_given_is_kept(folder):
    train("pretrain", *SMALL, "data.train=corpus.jsonl", "run_dir=run", "steps=100000", "max_hours=0.001")
    assert 0 < metrics(folder / "run")[-1]["step"] < 100000
    assert (folder / "run/latest").exists() and not (folder / "out").exists()


def test_out_of_memory_names_the_key_to_lower(folder):
    texts(folder / "corpus.jsonl", rows=4000)
    words = [
        "pretrain",
        *SMALL,
        "data.train=corpus.jsonl",
        "batch_tokens=65536",
        "micro_batch=1024",
        "run_dir=run",
    ]
    script = (
        "import resource, sys\n"
        "from danlu import cli\n"
        "import danlu.stages.pretrain\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 400_000_000,) * 2)\n"
        "cli.main(sys.argv[1:])\n"
    )
    done = subprocess.run([sys.executable, "-c", script, "train", *words], capture_output=True, text=True)
    problem, hint = done.stderr.strip().splitlines()[-2:]
    assert done.returncode == 2, done.stderr
    assert "out of memory" in problem and "micro_batch" in hint
    assert not (folder / "out").exists()
