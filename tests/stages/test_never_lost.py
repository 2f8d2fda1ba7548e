"""Nothing is ever lost: killed at any moment, on any number of ranks, a run goes on as if never stopped."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

import ranks
from corpus import texts
from ranks import run_ranks

SMALL = ["model=tiny", "model.num_hidden_layers=2", "seq_len=64", "batch_tokens=512", "micro_batch=2"]


def train(folder, *words):
    """Train in this process, on one thread, so that every run adds in the same order."""
    import torch

    from danlu.cli import cli

    os.chdir(folder)
    torch.set_num_threads(1)
    words = ["pretrain", *SMALL, "device=cpu", "dtype=float32", "data.train=corpus.jsonl", *words]
    cli.main(args=["train", *words], standalone_mode=False)


def start(folder, *words):
    """Begin a run in a process of its own, forked from a server that has imported everything."""
    process = ranks._server.Process(target=train, args=(str(folder), *words), daemon=True)
    process.start()
    return process


def losses(folder, run):
    lines = [json.loads(line) for line in (Path(folder) / run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1)), (
        "a step is missing or stands twice"
    )
    return [line["loss"] for line in lines]


def until(process, happened) -> None:
    """Wait until something happened, or the process ended."""
    while process.is_alive() and not happened():
        time.sleep(0.0005)


def newest(run) -> str:
    return (run / "latest").read_text() if (run / "latest").exists() else ""


def kill_once(run, process, moment, chance) -> bool:
    """Kill -9 at a random moment: while starting, while stepping, or inside a save; was a save cut short?"""
    before = newest(run)
    if moment == "starting":
        time.sleep(chance.uniform(0, 1.0))
    else:
        until(process, lambda: newest(run) != before)  # each life gets some way
        time.sleep(chance.uniform(0, 0.3))
    if moment == "saving":
        until(process, lambda: any(run.glob(".step-*.writing")))
        time.sleep(chance.uniform(0, 0.004))
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return any(run.glob(".step-*.writing"))


@pytest.mark.parametrize("kills", [6, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments_every_loss_is_the_same_to_the_bit(tmp_path, kills):
    texts(tmp_path / "corpus.jsonl", rows=300)
    words = [f"steps={20 * kills}", "save_every=7"]
    never_stopped = start(tmp_path, *words, "run_dir=whole", "name=whole")
    chance = random.Random(7)
    moments = (["stepping", "saving", "starting", "saving"] * kills)[:kills]
    chance.shuffle(moments)
    killed = cut_short = 0
    for moment in moments:
        process = start(tmp_path, *words, "run_dir=killed", "name=killed", "resume=true")
        cut_short += kill_once(tmp_path / "killed", process, moment, chance)
        killed += process.exitcode == -signal.SIGKILL
    assert killed == kills, "the run ended before it could be killed often enough"
    assert cut_short >= kills // 4, "too few kills fell inside a save"
    last = start(tmp_path, *words, "run_dir=killed", "name=killed", "resume=true")
    last.join()
    never_stopped.join()
    assert (never_stopped.exitcode, last.exitcode) == (0, 0)
    assert losses(tmp_path, "killed") == losses(tmp_path, "whole")
    weights = [(tmp_path / "out" / name / "model.safetensors").read_bytes() for name in ("whole", "killed")]
    assert weights[0] == weights[1]
    assert not list((tmp_path / "killed").glob(".step-*")), "half a checkpoint was left behind"


def test_a_flipped_byte_in_the_newest_checkpoint_costs_only_that_one(tmp_path):
    texts(tmp_path / "corpus.jsonl", rows=100)
    words = ["steps=12", "save_every=4", "keep=5"]
    train(tmp_path, *words, "run_dir=whole", "name=whole")
    train(tmp_path, *words, "run_dir=damaged", "name=damaged")
    newest = tmp_path / "damaged" / "step-000012"
    file = max((path for path in newest.iterdir()), key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    train(tmp_path, *words, "run_dir=damaged", "name=damaged", "resume=true")
    log = (tmp_path / "damaged" / "log.txt").read_text()
    assert "step-000012: damaged" in log and "at step 8 of 12" in log
    assert losses(tmp_path, "damaged") == losses(tmp_path, "whole")


def _train_until(rank, count, folder, stop, *words):
    from danlu.train.run import Run

    Run.should_stop = lambda run: run.step >= stop
    train(folder, *words)


@pytest.mark.parametrize("wrapping", ["ddp", "fsdp"])
@pytest.mark.parametrize("before, after", [(2, 1), (1, 2)])
def test_another_number_of_ranks_goes_on_with_the_same_data_and_losses(tmp_path, before, after, wrapping):
    texts(tmp_path / "corpus.jsonl", rows=100)
    words = ["steps=8", "model=tiny-moe", f"parallel.data={wrapping}"]
    run_ranks(_train_until, 1, str(tmp_path), 8, *words, "run_dir=whole", "name=whole")
    run_ranks(_train_until, before, str(tmp_path), 4, *words, "run_dir=moved", "name=moved")
    assert not (tmp_path / "out" / "moved").exists()
    run_ranks(_train_until, after, str(tmp_path), 8, *words, "run_dir=moved", "name=moved", "resume=true")
    assert losses(tmp_path, "moved") == pytest.approx(losses(tmp_path, "whole"), rel=1e-5)
