"""Exporting a checkpoint of four gigabytes, beside copying its bytes: time, and memory.

    python -m bench.convert --json

An export without its check (hashes included) takes turns with `cp -r` of the same folder and a `sync`; the
peak is the resident memory of the exporting process. The sources: finished weights in bfloat16, dense; and
a mixture of experts, whose experts lie one by one. Files are of 500 MB, so that the bound on memory, twice
the largest file and one gigabyte, is far below the model's size.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from danlu.model import layout, weights
from danlu.model.config import preset, resolve
from danlu.model.families import choose, to_hf
from danlu.model.shape import ModelConfig
from danlu.model.shards import write
from danlu.tokenizer.tokenizer import Tokenizer

SHARD = 500_000_000
DTYPE = torch.bfloat16
MOE = {"num_experts": 32, "num_experts_per_tok": 4, "moe_intermediate_size": 1024}
MODELS = {
    "dense": preset("1b") | {"num_hidden_layers": 42},
    "experts": preset("1b") | {"num_hidden_layers": 9, "moe": MOE},
}


def make(folder: Path, cfg: ModelConfig) -> int:
    """Write a checkpoint of random numbers; return its bytes."""
    targets = layout.plan(choose(cfg), cfg)
    described = {name: (target.shape, DTYPE) for name, target in targets.items()}
    noise = torch.randn(1 << 24).mul_(0.02).to(DTYPE)

    def pieces(name: str) -> Iterator[Tensor]:
        left = layout.size(targets[name])
        while left > 0:
            yield noise[: min(left, len(noise))]
            left -= len(noise)

    folder.mkdir(parents=True)
    total = write(folder, described, pieces, SHARD).total
    weights.write_config(folder, to_hf(cfg) | weights.dtype_keys(DTYPE))
    Tokenizer.load("starter").save(folder)
    return total


def copied(source: Path, out: Path) -> float:
    """Return how long cp and sync take."""
    began = time.perf_counter()
    subprocess.run(["cp", "-r", str(source), str(out)], check=True)
    os.sync()
    return time.perf_counter() - began


def exported(source: Path, out: Path) -> tuple[float, int]:
    """Return how long an export takes, from the command to its end, and its peak memory in bytes."""
    words = ["to-hf", str(source), "--out", str(out), "--check", "none", "--shard-size", str(SHARD)]
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "convert", *words], stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the export ended with {status}")
    return time.perf_counter() - began, usage.ru_maxrss * 1024


def compared(cfg: ModelConfig, folder: Path, rounds: int) -> dict[str, Any]:
    """Return both sides' times, taken in turns, and the export's peak memory."""
    size = make(folder / "source", cfg)
    times: dict[str, list[float]] = {"cp": [], "export": []}
    peak = 0
    for _ in range(rounds):
        # Each finds the same memory and disk: what the other wrote is gone.
        times["cp"].append(copied(folder / "source", folder / "copy"))
        shutil.rmtree(folder / "copy")
        seconds, most = exported(folder / "source", folder / "out")
        times["export"].append(seconds)
        peak = max(peak, most)
        largest = max(path.stat().st_size for path in (folder / "out").glob("*.safetensors"))
        shutil.rmtree(folder / "out")
        print({name: round(taken[-1], 2) for name, taken in times.items()}, file=sys.stderr)
    middle = {name: statistics.median(taken) for name, taken in times.items()}
    shutil.rmtree(folder / "source")
    return {
        "gb": round(size / 1e9, 2),
        "cp_s": round(middle["cp"], 2),
        "export_s": round(middle["export"], 2),
        "ratio": round(middle["export"] / middle["cp"], 2),
        "worst_ratio": round(max(times["export"]) / middle["cp"], 2),
        "peak_gb": round(peak / 1e9, 2),
        "bound_gb": round((2 * largest + 1e9) / 1e9, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where the checkpoints lie; the disk decides the speed")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        result = {
            kind: compared(resolve(model), Path(name) / kind, args.rounds) for kind, model in MODELS.items()
        }
    if args.json:
        print(json.dumps(result))
        return
    for kind, one in result.items():
        print(
            f"{kind}: {one['gb']} GB in {one['export_s']} s, {one['ratio']} times cp's {one['cp_s']} s;"
            f" peak {one['peak_gb']} GB of {one['bound_gb']}"
        )


if __name__ == "__main__":
    main()
