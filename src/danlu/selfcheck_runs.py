"""The cases of `danlu selfcheck` that are whole commands, on one device or on all.

As a program it is one rank of the bandwidth case: `torchrun --nproc-per-node N -m danlu.selfcheck_runs`.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from danlu.device import api
from danlu.device.api import Device
from danlu.parallel import mesh

WORDS = (
    "pretrain",
    "model=tiny",
    "seq_len=64",
    "batch_tokens=512",
    "optim.lr=3e-3",
    "dtype=float32",
    "compile=false",
    "data.train=corpus.jsonl",
    "steps=6",
    "save_every=2",
    "keep=9",
)
CLOSE = 1e-4
BYTES = 64 << 20  # of what is summed
PATIENCE = 240  # seconds


def commands(device: Device, folder: Path) -> dict[str, Any]:
    """Train in one go, and with a stop in the middle; export what came out, which checks itself."""
    corpus(folder)
    whole = train(device, folder, "whole")
    newest = ("resume=runs/whole/step-000002", "accept_changes=true")
    again = train(device, folder, "again", *newest)
    assert again == whole[2:], f"{whole[2:]} in one go, {again} after a stop"
    exported = start(
        folder, ["-m", "convert", "to-hf", "out/whole", "--out", "exported", "--dtype", "float32"]
    )
    if "No module named convert" in exported.stderr:
        return {"losses": whole, "export": "left out: the converter is part of the clone, not of the package"}
    assert exported.returncode == 0, exported.stderr[-1500:]
    return {"losses": whole, "export": "as it should be"}


def ranks(device: Device, folder: Path) -> dict[str, Any]:
    """Train on one device, then on all: the same losses. A checkpoint of fsdp is read by ddp."""
    count = devices(device)
    if count < 2:
        return {"left_out": "one device"}
    corpus(folder)
    alone = train(device, folder, "alone")
    found: dict[str, Any] = {"count": count, "one": alone}
    shared = train(device, folder, "fsdp", "parallel.data=fsdp", count=count)
    copied = train(device, folder, "ddp", "parallel.data=ddp", "accept_changes=true",
                   "resume=runs/fsdp/step-000002", count=count)  # fmt: skip
    for name, losses, expected in (("fsdp", shared, alone), ("ddp", copied, alone[2:])):
        worst = max(abs(a - b) / b for a, b in zip(losses, expected, strict=True))
        assert worst < CLOSE, f"{name} on {count}: {losses}, alone {expected}"
        found[name] = {"losses": losses, "largest_difference": worst}
    return found


def bandwidth(device: Device, folder: Path) -> dict[str, Any]:
    """Sum a large tensor over all devices; a rank moves 2 (n - 1) / n of it."""
    count = devices(device)
    if count < 2:
        return {"left_out": "one device"}
    done = start(folder, [*launcher(count), "-m", "danlu.selfcheck_runs"], DANLU_SELFCHECK=device.kind)
    assert done.returncode == 0, done.stderr[-1500:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def devices(device: Device) -> int:
    """Return how many ranks to start: all cards; two on a processor, which has no cards."""
    return 2 if device.kind == "cpu" else torch.accelerator.device_count()


def corpus(folder: Path) -> None:
    """Write something to learn from."""
    chance = random.Random(0)
    words = "the small model learns to speak two languages 春 夏 秋 冬".split()
    rows = [{"text": " ".join(chance.choices(words, k=chance.randint(5, 60)))} for _ in range(120)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "corpus.jsonl").write_text(text, encoding="utf-8")


def train(device: Device, folder: Path, name: str, *words: str, count: int = 1) -> list[float]:
    """Return the losses of a run."""
    command = [
        "-m",
        "danlu",
        "train",
        *WORDS,
        f"device={device.kind}",
        f"run_dir=runs/{name}",
        f"name={name}",
    ]
    done = start(folder, [*(launcher(count) if count > 1 else []), *command, *words])
    assert done.returncode == 0, done.stderr[-1500:]
    lines = (folder / f"runs/{name}/metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def launcher(count: int) -> list[str]:
    return ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]


def start(folder: Path, words: list[str], **more: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the case's folder; what this process finds, it finds."""
    paths = os.pathsep.join(filter(None, (str(Path(path).resolve()) for path in sys.path)))
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, **more},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def main() -> None:
    """One rank of the bandwidth case: rank 0 prints what was measured."""
    device = api.choose(os.environ["DANLU_SELFCHECK"])
    world = mesh.start(device)
    tensor = torch.ones(BYTES // 4, device=device.torch)
    taken = []
    for _ in range(6):
        mesh.barrier()
        began = time.perf_counter()
        torch.distributed.all_reduce(tensor)
        device.synchronize()
        taken.append(time.perf_counter() - began)
    best = min(taken[1:])
    moved = 2 * (world.ranks - 1) / world.ranks * BYTES
    if world.rank == 0:
        print(json.dumps({"count": world.ranks, "bytes": BYTES, "bytes_per_s": moved / best}))
    mesh.stop()


if __name__ == "__main__":
    main()
