"""Our side of a comparison: the engine's own model, optimiser, packing and stepper, nothing special."""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
import torch

from bench.corpus import samples
from bench.duel import serve_rounds
from danlu.data.batch import Batch
from danlu.data.samples import Samples, Shard
from danlu.data.stream import Stream
from danlu.data.supply import Mapped
from danlu.device import api
from danlu.model import build, config, size
from danlu.model.config import ModelConfig
from danlu.parallel import apply, mesh
from danlu.train import losses
from danlu.train.optim import Optim, Schedule, build_optimizer
from danlu.train.stepper import Stepper


def stream(model: ModelConfig, row: int, micro_batch: int, batch_tokens: int) -> Stream:
    """Return the engine's own stream over the corpus: packed, shuffled, without end."""
    rows = samples(8192, model.vocab_size)
    lengths = np.array([len(each) - 1 for each in rows], np.int32)  # the last token is only ever learned
    ends = np.cumsum([len(each) for each in rows])
    shard = Shard(
        tokens=np.concatenate(rows).astype(np.int32),
        starts=ends - lengths - 1,
        lengths=lengths,
        rows=np.arange(len(rows)),
    )
    supply = Mapped(Samples([shard]), seed=0)
    return Stream(supply, seq_len=row, rows_per_step=batch_tokens // row, micro_batch=micro_batch)


class Trainee:
    """A model that takes optimiser steps."""

    def __init__(
        self, section: dict[str, Any], dtype: torch.dtype | None = None, compiled: bool = True
    ) -> None:
        device = api.current()
        self.dtype = dtype or device.default_dtype()
        self.cfg = config.resolve(section)
        model = build.build(self.cfg, device.torch, seed=0)
        self.model = apply.parallelize(
            model, mesh.Parallel(), device, self.dtype, recompute=False, compile=compiled
        )
        optim = Optim(lr=5e-4, schedule="constant")
        optimizer = build_optimizer(self.model, optim, device)
        schedule = Schedule(optimizer, optim, 10_000)
        self.stepper = Stepper(self.model, optimizer, schedule, device, self.dtype, mesh.start(device))

    def step(self, micro_batches: list[Batch]) -> dict[str, float]:
        """Take one step; return how many real tokens it learned from, and their share of all places."""
        places = sum(batch.tokens_BT.numel() for batch in micro_batches)
        tokens = self.stepper.step(micro_batches, losses.next_token)["tokens"]
        return {"tokens": tokens, "fill": tokens / places}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--set", default="{}", help="JSON of model keys that replace the preset's")
    parser.add_argument("--dtype")
    parser.add_argument("--row", type=int, default=512)
    parser.add_argument("--micro-batch", type=int, default=16)
    parser.add_argument("--batch-tokens", type=int, default=16384)
    parser.add_argument("--eager", action="store_true")
    args = parser.parse_args()
    dtype = getattr(torch, args.dtype) if args.dtype else None
    trainee = Trainee(config.preset(args.model) | json.loads(args.set), dtype, compiled=not args.eager)
    batches = stream(trainee.cfg, args.row, args.micro_batch, args.batch_tokens)
    serve_rounds(
        lambda: trainee.step(next(batches)),
        parameters=size.count(trainee.cfg),
        dtype=str(trainee.dtype)[6:],
        flops_per_token=size.flops_per_token(trainee.cfg, batches.mean_context),
    )


if __name__ == "__main__":
    main()
