"""A host with the wheel and without what it needs: the fault is named, and nothing else breaks."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from corpus import texts
from danlu.device import report
from standin import build

pytestmark = pytest.mark.npu

WHEEL = build.PRIVATE / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


def danlu(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command where torch_npu is installed, and CANN is not or its set_env.sh was not sourced."""
    paths = os.pathsep.join(map(str, (WHEEL, build.ROOT / "src")))
    bare = {key: value for key, value in os.environ.items() if not key.startswith("ASCEND")}
    return subprocess.run(
        [sys.executable, "-m", "danlu", *words],
        env=bare | {"PYTHONPATH": paths, "LD_LIBRARY_PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_info_names_the_missing_library_and_the_remedy():
    done = danlu("info", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    (trouble,) = said["problems"]
    assert "torch_npu" in trouble["problem"] and "libhccl.so" in trouble["problem"]
    assert "set_env.sh" in trouble["try"]
    assert said["device"]["kind"] == "cpu" and said["versions"]["torch_npu"] == "2.13.0"


@pytest.mark.parametrize("words", [["--help"], ["config", "sft"], ["tools", "list"]], ids=" ".join)
def test_a_command_that_needs_no_torch_does_not_notice(words):
    done = danlu(*words)
    assert done.returncode == 0, done.stderr


def test_training_goes_on_the_processor_and_says_why(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts(tmp_path / "corpus.jsonl", rows=20)
    words = ["train", "pretrain", "model=tiny", "model.num_hidden_layers=1", "seq_len=32", "batch_tokens=64"]
    done = danlu(*words, "steps=1", "data.train=corpus.jsonl", "compile=false")
    assert done.returncode == 0, done.stderr
    assert "the processor is used" in done.stderr and "set_env.sh" in done.stderr
    refused = danlu(*words, "data.train=corpus.jsonl", "device=npu")
    assert refused.returncode == 2 and "torch_npu does not load: libhccl.so" in refused.stderr


def test_a_torch_for_other_cards_beside_it_is_named():
    said = "RuntimeError: Two accelerators cannot be used at the same time in PyTorch: npu and cuda. ERR00007"
    explained = report.explain(said)
    assert "built for CUDA" in explained["problem"] and "uninstall torch_npu" in explained["try"]
