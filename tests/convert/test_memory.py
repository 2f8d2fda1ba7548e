"""An export's memory does not grow with the model: some pieces at a time, wherever they come from.

Measured as the peak of a process that exports, less the peak of one that only imports. Allowed is twice the
largest file, and 160 MB: what may wait to be written, and what the allocator keeps.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import exports
from convert.export import environment
from danlu.checkpoint.store import Store
from danlu.model import weights
from danlu.model.build import build_empty
from danlu.model.shape import ModelConfig

MB = 1_000_000
SHARD, MARGIN = 50 * MB, 160 * MB
LARGE: dict[str, Any] = {
    "vocab_size": 8000,
    "hidden_size": 768,
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "intermediate_size": 3072,
    "num_hidden_layers": 10,
}
EXPERTS = {"num_experts": 16, "num_experts_per_tok": 2, "moe_intermediate_size": 768}
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "dense": ("qwen3", {}),
    "MoE": ("qwen3_moe", {"moe": EXPERTS, "num_hidden_layers": 3}),
    "fused": ("phi3", {"sliding_window": 512, "partial_rotary_factor": 1.0}),
}

CHILD = """
import sys
from convert.__main__ import cli
import convert.source_step, convert.to_hf, danlu.model.decoder, transformers.utils
torch = sys.modules["torch"]
torch.set_num_threads(1)
if len(sys.argv) > 1:
    cli(sys.argv[1:], standalone_mode=False)
status = open("/proc/self/status").read()
print(next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")))
"""


def peak(*words: object) -> int:
    """Return the largest memory a process had."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, words)],
        capture_output=True,
        text=True,
        check=True,
        env=environment() | {"OMP_NUM_THREADS": "1"},
    )
    return int(done.stdout.split()[-1])


def written(folder: Path, cfg: ModelConfig, kind: str) -> Path:
    """Write a large model as finished weights or as a checkpoint."""
    torch.manual_seed(0)
    state = {name: torch.randn(t.shape) for name, t in build_empty(cfg, "cpu").state_dict().items()}
    if kind == "weights":
        folder.mkdir()
        weights.save(state, cfg, folder)
        return folder
    exports.described(folder, cfg)
    with_store = Store(folder)
    step = with_store.save(1, {"model": state}, {"step": 1}, wait=True)
    with_store.close()
    return step


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc on this host")
@pytest.mark.parametrize("kind", ["weights", "step"])
@pytest.mark.parametrize(
    "shape",
    [pytest.param("dense", marks=()), *(pytest.param(s, marks=pytest.mark.slow) for s in ("MoE", "fused"))],
)
def test_memory_is_that_of_some_pieces(tmp_path, shape, kind):
    name, changes = SHAPES[shape]
    cfg = exports.speaking(name, **LARGE | changes)
    source = written(tmp_path / "source", cfg, kind)
    size = sum(file.stat().st_size for file in source.glob("*.safetensors"))
    assert size > 8 * SHARD / 2
    out = tmp_path / "hf"
    grown = peak("to-hf", source, "--out", out, "--shard-size", "50MB", "--check", "none") - peak()
    largest = max(file.stat().st_size for file in out.glob("model-*.safetensors"))
    print(json.dumps({"shape": shape, "from": kind, "model_MB": size / MB, "peak_MB": grown / MB}))
    assert largest < SHARD + MB
    assert grown < 2 * largest + MARGIN, f"{grown / MB:.0f} MB"
