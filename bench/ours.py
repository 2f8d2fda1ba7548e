"""Our side of a comparison: the engine's own model, optimiser, packing and stepper, nothing special."""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
import torch

from bench.corpus import samples
from bench.duel import serve_rounds
from danlu.data.batch import Batch, collate
from danlu.data.packing import best_fit
from danlu.device import api
from danlu.model import build, config, size
from danlu.parallel import apply, mesh
from danlu.train import losses
from danlu.train.optim import Optim, Schedule, build_optimizer
from danlu.train.stepper import Stepper


class Trainee:
    """A model that takes steps on rows of random tokens."""

    def __init__(
        self, section: dict[str, Any], dtype: torch.dtype | None = None, compiled: bool = True
    ) -> None:
        self.device = api.current()
        self.dtype = dtype or self.device.default_dtype()
        self.cfg = config.resolve(section)
        world = mesh.start(self.device)
        model = build.build(self.cfg, self.device.torch, seed=0)
        model = apply.parallelize(
            model, mesh.Parallel(), self.device, self.dtype, recompute=False, compile=compiled
        )
        optim = Optim(lr=5e-4, schedule="constant")
        optimizer = build_optimizer(model, optim, self.device)
        self.stepper = Stepper(
            model, optimizer, Schedule(optimizer, optim, 10_000), self.device, self.dtype, world, max_norm=1.0
        )

    def step(self, rows: list[np.ndarray], row: int, micro_batch: int) -> dict[str, float]:
        """Pack the samples into rows of `row` tokens and take one optimiser step on all of them."""
        groups = best_fit([len(each) for each in rows], row)
        micro_batches: list[Batch] = []
        for start in range(0, len(groups), micro_batch):
            chosen = groups[start : start + micro_batch]
            micro_batches.append(
                collate([[rows[i] for i in group] for group in chosen], row, rows=micro_batch)
            )
        self.stepper.step(micro_batches, losses.next_token)
        return {"tokens": sum(len(each) for each in rows), "fill": sum(map(len, rows)) / (len(groups) * row)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--set", default="{}", help="JSON of model keys that replace the preset's")
    parser.add_argument("--dtype")
    parser.add_argument("--row", type=int, default=512)
    parser.add_argument("--micro-batch", type=int, default=8)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--eager", action="store_true")
    args = parser.parse_args()
    dtype = getattr(torch, args.dtype) if args.dtype else None
    section = config.preset(args.model) | json.loads(args.set)
    trainee = Trainee(section, dtype, compiled=not args.eager)
    rows = samples(4096, trainee.cfg.vocab_size)
    place = 0

    def work() -> dict[str, float]:
        nonlocal place
        chosen = rows[place : place + args.samples]
        place = (place + args.samples) % (len(rows) - args.samples)
        return trainee.step(chosen, args.row, args.micro_batch)

    mean_context = float(np.mean([len(row) for row in rows])) / 2
    serve_rounds(
        work,
        parameters=size.count(trainee.cfg),
        dtype=str(trainee.dtype)[6:],
        flops_per_token=size.flops_per_token(trainee.cfg, mean_context),
    )


if __name__ == "__main__":
    main()
