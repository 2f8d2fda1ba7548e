"""Runs on mixed, streamed and renamed data, through the command line: the same run after a stop."""

from __future__ import annotations

import json

import pytest
import yaml

from corpus import texts
from danlu import cli
from danlu.base.errors import UserError

SMALL = ["model=tiny", "model.num_hidden_layers=1", "seq_len=32", "batch_tokens=256", "micro_batch=2",
         "device=cpu", "dtype=float32", "compile=false", "save_every=4", "keep=99"]  # fmt: skip


def train(*words):
    cli.cli.main(args=["train", "pretrain", *SMALL, *words], standalone_mode=False)


def metrics(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path / "cache"))
    texts(tmp_path / "a.jsonl", 80, seed=1)
    b = texts(tmp_path / "b.jsonl", 80, seed=2)
    (tmp_path / "c.jsonl").write_text("{broken\n" + b.read_text().replace('"text"', '"body"'))
    return tmp_path


FILE = """
sources: [a.jsonl, b.jsonl]
names: [special, general]
schedule:
- {schedule_type: linear, weights: [0.5, 1], to: [4.5, 1], steps: 6}
"""
SECTION = {
    "stage": "pretrain",
    "data": {
        "mixture": {
            "level": "sample",
            "sources": [
                {"name": "special", "paths": "a.jsonl", "weight": 3, "streamed": True},
                {"name": "general", "paths": ["b.jsonl"]},
            ],
        }
    },
}
RUNS = {
    "file": ["data.train=mix.yaml", "data.valid=b.jsonl", "steps=10"],
    "epochs": ["data.train=mix.yaml", "epochs=1"],
    "streamed": ["data.train=a.jsonl,b.jsonl", "data.streamed=true", "steps=10"],
    "read": ["data.train=c.jsonl", "data.fields.text=body", "data.on_bad_row=skip", "steps=10",
             "packing=budget", "batch_warmup.from=64", "batch_warmup.steps=5"],
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_a_run_goes_on_as_if_never_stopped(folder, name):
    (folder / "mix.yaml").write_text(FILE)
    train(*RUNS[name], "run_dir=whole")
    train(*RUNS[name], "run_dir=again", "resume=whole/step-000004", "name=again")
    keys = ("step", "loss", "tokens", "share.special", "valid_loss")
    whole, again = (
        [[row.get(key) for key in keys] for row in metrics(folder / run)] for run in ("whole", "again")
    )
    assert len(whole) > 6
    assert again == whole[4:]


def test_a_mixture_can_stand_in_the_configuration_and_its_shares_are_logged(folder):
    (folder / "mine.yaml").write_text(yaml.safe_dump(SECTION))
    cli.cli.main(args=["train", "mine.yaml", *SMALL, "steps=30", "run_dir=run"], standalone_mode=False)
    last = metrics(folder / "run")[-1]
    assert last["share.special"] == pytest.approx(0.75, abs=0.06)
    assert last["share.special"] + last["share.general"] == pytest.approx(1)
    again = yaml.safe_load((folder / "run/config.yaml").read_text())
    assert again["data"]["mixture"]["sources"][0]["name"] == "special"


def test_growing_steps_are_seen_in_the_tokens_learned(folder):
    train(*RUNS["read"], "run_dir=run")
    tokens = [row["tokens"] for row in metrics(folder / "run")]
    steps = [after - before for before, after in zip([0, *tokens], tokens)]
    assert steps[0] <= 64 < steps[5] <= 256


@pytest.mark.parametrize(
    ("words", "problem", "hint"),
    [
        (["data.train=a.jsonl", "data.streamed=true"], "steps: is not set", "steps=N"),
        (["data.train=gone.yaml"], "gone.yaml: no such file", "path"),
        (["data.train=mix.yaml,a.jsonl"], "stands alone", "files"),
        (["data.train=a.jsonl", "batch_warmup.from=999"], "batch_warmup.from: 999", "from=32"),
        (["data.train=a.jsonl", "data.streams=true"], "data.streams: unknown key", "data.streamed"),
        (["data.train=a.jsonl", "data.streamed=yes please"], "data.streamed: ", "data.streamed=VALUE"),
        (["data.train=a.jsonl", "data.on_bad_row=hide"], "data.on_bad_row", "skip"),
        (["data.train=c.jsonl", "data.fields.text=body"], "c.jsonl:1: not valid JSON", ""),
        (["data.train=a.jsonl", "packing=tight"], "packing", "budget"),
        (["data.train=mix.yaml", 'data.mixture.sources=[{name: a, paths: a.jsonl}]'], "both", "one of them"),
        (['data.mixture.sources=[{name: a, paths: a.jsonl, weight: -1}]'], "greater than or equal to 0", ""),
        (['data.mixture.sources=[{name: a}]'], "paths: is required", ""),
        (['data.mixture.sources=[{name: a, paths: x, wait: 1}]'], "wait: unknown key", "mean 'weight'?"),
    ],
)  # fmt: skip
def test_mistakes_are_said_in_two_lines(folder, words, problem, hint):
    (folder / "mix.yaml").write_text(FILE)
    with pytest.raises(UserError) as error:
        train(*words)
    assert problem in error.value.problem
    assert hint in error.value.hint
    assert error.value.hint
    assert "\n" not in error.value.problem + error.value.hint


def test_other_data_begins_afresh_where_changes_are_accepted(folder, capsys):
    train("data.train=a.jsonl", "steps=6", "run_dir=run")
    words = ["data.train=b.jsonl", "steps=8", "run_dir=other", "resume=run/step-000004"]
    with pytest.raises(UserError, match="data.train"):
        train(*words)
    train(*words, "accept_changes=true", "name=other")
    assert "the data begins afresh" in capsys.readouterr().err
    assert [row["step"] for row in metrics(folder / "other")] == [5, 6, 7, 8]


def test_the_micro_batch_is_part_of_what_is_learned_where_it_decides_the_rows(folder):
    train("data.train=a.jsonl", "steps=6", "run_dir=run", "packing=budget")
    with pytest.raises(UserError, match="micro_batch 2 -> 4"):
        train("data.train=a.jsonl", "steps=6", "run_dir=other", "packing=budget", "micro_batch=4",
              "resume=run/step-000004")  # fmt: skip


def test_what_was_skipped_and_cut_on_the_way_is_said_in_a_run(folder, capsys):
    train(*RUNS["read"], "data.streamed=true", "run_dir=run")
    said = capsys.readouterr().err
    assert said.count("c.jsonl:1: not valid JSON") == 1
    assert "texts are longer than seq_len=32" in said


def test_a_mistake_in_what_is_measured_is_not_told_as_one_in_what_is_learned(folder):
    (folder / "mix.yaml").write_text(FILE)
    with pytest.raises(UserError) as error:
        train("data.train=a.jsonl", "data.valid=mix.yaml,a.jsonl", "steps=2")
    assert error.value.problem.startswith("mix.yaml")
