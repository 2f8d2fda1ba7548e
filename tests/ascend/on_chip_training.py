"""Training on a chip is training on the processor: run by `test_training.py` in a process of that chip.

Every stage that is listed in STAGES is trained here, dense and with experts, first on the processor, then on
the chip, from the same files; then a checkpoint goes from one to the other and back.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from corpus import chats, texts
from danlu import cli
from danlu.stages import STAGES

DATA = {"pretrain": texts}  # every other stage learns from chats
WORDS = [
    "model.num_hidden_layers=2", "seq_len=32", "batch_tokens=128", "optim.lr=3e-3", "compile=false",
]  # fmt: skip
CLOSE = 1e-5  # of a float32 loss, relative


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for stage in STAGES:
        DATA.get(stage, chats)(Path(f"{stage}.jsonl"), rows=60)
    return tmp_path


def danlu(*words: str) -> str:
    done = CliRunner().invoke(cli.cli, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def train(device: str, stage: str, name: str, *words: str, dtype: str = "float32") -> list[float]:
    """Train and return the losses."""
    danlu("train", stage, *WORDS, f"data.train={stage}.jsonl", f"device={device}", f"dtype={dtype}",
          f"run_dir=runs/{name}", f"name={name}", *words)  # fmt: skip
    return losses(name)


def losses(name: str) -> list[float]:
    return [json.loads(line)["loss"] for line in Path(f"runs/{name}/metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("model", ["tiny", "tiny-moe"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_learns_what_it_learns_on_the_processor(folder, stage, model):
    first, second = (train(device, stage, device, f"model={model}", "steps=3") for device in ("cpu", "npu"))
    assert len(first) == 3 and first[-1] < first[0]
    assert second == pytest.approx(first, rel=CLOSE)


@pytest.mark.parametrize(("dtype", "close"), [("float32", CLOSE), ("float16", 5e-3)])
def test_a_checkpoint_hops_from_the_processor_to_the_chip_and_back(folder, dtype, close):
    """Steps 1 and 2 on the processor, 3 and 4 on the chip, 5 and 6 on the processor, as if never moved."""
    keys = ["model=tiny", "steps=6", "save_every=2", "keep=9"]
    whole = train("cpu", "pretrain", "whole", *keys, dtype=dtype)
    moved = [*keys, "accept_changes=true"]
    there = train("npu", "pretrain", "there", *moved, "resume=runs/whole/step-000002", dtype=dtype)
    back = train("cpu", "pretrain", "back", *moved, "resume=runs/there/step-000004", dtype=dtype)
    assert there == pytest.approx(whole[2:], rel=close)
    assert back == pytest.approx(whole[4:], rel=close)
    if dtype == "float16":
        assert scales("there") == scales("whole")[2:] and scales("back") == scales("whole")[4:]


def scales(name: str) -> list[float]:
    return [json.loads(line)["scale"] for line in Path(f"runs/{name}/metrics.jsonl").read_text().splitlines()]


def test_generated_words_are_those_of_the_processor(folder):
    """In float32: the chip's RMSNorm wants its weight in the input's format, the processor's does not."""
    train("cpu", "pretrain", "made", "model=tiny", "steps=8")
    words = ["chat", "out/made", "--prompt", "the small model", "--temperature", "0", "--max-tokens", "12",
             "--repetition-penalty", "2", "--dtype", "float32"]  # fmt: skip
    here, there = (danlu(*words, "--device", device).partition("\n[")[0] for device in ("cpu", "npu"))
    assert len(set(here)) > 6 and there == here
