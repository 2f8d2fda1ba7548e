"""A run on a chip that is killed goes on where it was, and leaves as any other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from ascend.children import environment, run

pytestmark = pytest.mark.npu

WORDS = [
    "-m", "danlu", "train", "pretrain", "model=tiny", "model.num_hidden_layers=2", "seq_len=32",
    "batch_tokens=128", "optim.lr=3e-3", "dtype=float32", "compile=false", "data.train=corpus.jsonl",
    "steps=8", "save_every=2", "keep=9",
]  # fmt: skip


def losses(name: str) -> list[float]:
    file = Path(f"runs/{name}/metrics.jsonl")
    return [json.loads(line)["loss"] for line in file.read_text().splitlines()] if file.exists() else []


def told(chip: str, *words: str) -> str:
    done = run(chip, *words)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("chip", ["910A", "910B3"])
def test_killed_resumed_converted_and_served(folder, chip):
    told(chip, *WORDS, "device=cpu", "run_dir=runs/whole", "name=whole")
    words = [*WORDS, "device=npu", "run_dir=runs/killed", "name=killed"]
    process = subprocess.Popen([sys.executable, *words], env=environment(chip), stderr=subprocess.DEVNULL)
    while not Path("runs/killed/step-000002/manifest.json").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(losses("killed")) < 8
    told(chip, *words, "resume=true")
    assert losses("killed") == pytest.approx(losses("whole"), rel=1e-5)

    told(chip, "-m", "convert", "to-hf", "out/killed", "--out", "exported", "--dtype", "float32")
    told(chip, "-m", "convert", "check", "exported", "--against", "out/killed")
    assert served(chip, "exported", "npu") == served(chip, "exported", "cpu")


def served(chip: str, folder: str, device: str) -> str:
    """Return a greedy completion from the built-in server."""
    words = ["-m", "danlu", "serve", folder, "--device", device, "--dtype", "float32", "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, *words],
        env=environment(chip),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "http://" in line:
                break
        base = "http://" + line.partition("http://")[2].split()[0].rstrip("/").removesuffix("/v1")
        question = {"model": Path(folder).name, "prompt": "the small", "max_tokens": 8, "temperature": 0}
        asked = urllib.request.Request(
            f"{base}/v1/completions", json.dumps(question).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(asked, timeout=120) as answer:
            return json.load(answer)["choices"][0]["text"]
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait(timeout=60)
