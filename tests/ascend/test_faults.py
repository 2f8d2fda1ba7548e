"""What goes wrong on a chip is told in words, in time, and loses no checkpoint."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ascend.children import ranks, run
from danlu.device import failures

pytestmark = pytest.mark.npu

WORDS = [
    "-m", "danlu", "train", "pretrain", "model=tiny", "model.num_hidden_layers=1", "seq_len=32",
    "batch_tokens=64", "dtype=float32", "compile=false", "data.train=corpus.jsonl", "steps=6",
    "save_every=1", "device=npu", "run_dir=run",
]  # fmt: skip
LEAVING = 15  # seconds in which all ranks are told to end and end


def names(text: str) -> set[str]:
    """What the launcher's translator makes of it."""
    return {found.failure.name for found in failures.explain(failures.lines(text))}


def saved() -> list[str]:
    return sorted(path.name for path in Path("run").glob("step-*") if (path / "manifest.json").exists())


@pytest.mark.parametrize(
    ("fault", "known"),
    [
        ("operator:60", {"cann_500002", "aclnn_refused"}),
        ("device:2400", {"cann_507010"}),
    ],
)
def test_a_fault_of_the_chip_has_a_name_and_the_run_goes_on_from_its_checkpoint(folder, fault, known):
    failed = run("910B3", *WORDS, STANDIN_FAULT=fault)
    assert failed.returncode not in (0, None)
    assert names(failed.stderr) & known, failed.stderr[-3000:]
    assert saved(), "the steps before it are kept"
    again = run("910B3", *WORDS, "resume=true")
    assert again.returncode == 0, again.stderr[-3000:]
    assert "step-000006" in saved()


def test_memory_that_ends_is_two_lines_with_a_remedy(folder):
    failed = run("910B3", *WORDS, STANDIN_FAULT="memory:900", PYTORCH_NO_NPU_MEMORY_CACHING="1")
    assert failed.returncode == 2, failed.stderr[-3000:]
    said = failed.stderr.splitlines()  # torch_npu's own queue may say something when it ends
    at = [line.startswith("error: ") for line in said].index(True)
    problem, hint = said[at : at + 2]
    assert "out of memory at step" in problem and "try: a smaller micro_batch" in hint
    assert not any("Traceback" in line for line in said)


def test_a_rank_that_stays_away_is_waited_for_no_longer_than_was_said(folder):
    failed = ranks(
        "910A", 2, *WORDS, STANDIN_FAULT="collective:6", STANDIN_FAULT_RANK="1", STANDIN_HCCL_TIMEOUT="4"
    )
    assert failed.returncode != 0
    assert names(failed.stderr), failed.stderr[-4000:]
    well = [Path("run/config.yaml"), *Path("run").glob("step-*")]
    assert time.time() - max(path.stat().st_mtime for path in well) < 4 + LEAVING
