"""Losses of a few steps on fixed rows, however they are cut: into micro-batches, over ranks, by wrapper.

One rank and one piece is the oracle; every other cut must give its losses.

    curve(Cut(pieces=4))               four micro-batches of one rank
    ranked(2, {"x": Cut(data="fsdp")}) two ranks, fully sharded

The rows differ in how much they teach, one teaches nothing at all, and some hold two samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from danlu.data.batch import IGNORE, Batch, lay_out
from danlu.device import api
from danlu.model.build import build
from danlu.model.config import ModelConfig, MoE
from danlu.parallel import mesh
from danlu.parallel.apply import parallelize
from danlu.parallel.mesh import Parallel
from danlu.train.losses import next_token, token_nll
from danlu.train.optim import Optim, Schedule, build_optimizer
from danlu.train.stepper import Stepper
from ranks import run_ranks

WORDS, LENGTH, ROWS, STEPS = 29, 12, 8, 4


@dataclass
class Cut:
    """How the same work is divided and done."""

    pieces: int = 1
    data: str = "ddp"
    shard: int = 0
    moe: str = ""
    tied: bool = True
    recompute: bool = False
    compile: bool = False
    dtype: torch.dtype = torch.float32
    validate: bool = False
    optim: dict[str, Any] = field(default_factory=dict)
    stepper: dict[str, Any] = field(default_factory=dict)


def model_config(cut: Cut) -> ModelConfig:
    moe = None
    if cut.moe:
        keys = {"router": "sigmoid"} if cut.moe == "bias" else {}
        moe = MoE(
            num_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=16,
            balance=cut.moe,
            balance_coef=0.1,
            **keys,
        )
    return ModelConfig(
        vocab_size=WORDS,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=LENGTH,
        tie_word_embeddings=cut.tied,
        moe=moe,
    )


def row(number: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Return tokens, labels and the lengths of the samples of one row; none if the number is negative."""
    if number < 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), []
    length = LENGTH - 2 * (number % 3 == 1)
    tokens = np.random.default_rng(number).integers(1, WORDS, length + 1)
    labels = tokens[1:].copy()
    labels[: length if number == 4 else (5 * number) % LENGTH] = IGNORE
    return tokens[:-1], labels, [5, length - 5] if number % 2 else [length]


def batch(numbers: list[int]) -> Batch:
    """Return the micro-batch of these rows."""
    tokens, labels, lengths = zip(*(row(number) for number in numbers), strict=True)
    made = lay_out(np.concatenate(tokens), np.concatenate(labels), None, lengths, LENGTH)
    return replace(made, rows=[number for number in numbers if number >= 0])


def micro_batches(cut: Cut, rank: int = 0, ranks: int = 1) -> list[Batch]:
    """Return this rank's share of the eight rows, in pieces; where rows are missing, padding."""
    mine = list(range(ROWS))[rank::ranks]
    size = -(-ROWS // (ranks * cut.pieces))
    mine += [-1] * (size * cut.pieces - len(mine))
    return [batch(mine[at : at + size]) for at in range(0, len(mine), size)]


def make(cut: Cut, device: Any = None) -> Stepper:
    device = device or api.choose("cpu")
    model = build(model_config(cut), device.torch, seed=3)
    cfg = Parallel(data=cut.data, shard=cut.shard)
    model = parallelize(model, cfg, device, cut.dtype, recompute=cut.recompute, compile=cut.compile)
    optim = Optim(**{"lr": 0.01, "max_norm": 0.5, "schedule": "constant", **cut.optim})
    optimizer = build_optimizer(model, optim, device)
    schedule = Schedule(optimizer, optim, STEPS)
    return Stepper(
        model, optimizer, schedule, device, cut.dtype, mesh.world(), max_norm=optim.max_norm, **cut.stepper
    )


def curve(cut: Cut, rank: int = 0, ranks: int = 1) -> list[dict[str, float]]:
    """Return what four steps on the same rows measure."""
    stepper, mine, found = make(cut), micro_batches(cut, rank, ranks), []
    for _ in range(STEPS):
        found.append(stepper.step(mine, next_token))
        if cut.validate:
            found[-1]["valid"] = valid(stepper, mine)
    return found


@torch.no_grad()
def valid(stepper: Stepper, micro_batches: list[Batch]) -> float:
    stepper.model.eval()
    total = sum(float(token_nll(stepper.model, batch).sum()) for batch in micro_batches)
    stepper.model.train()
    return mesh.sum_over_ranks(total)


def work(rank: int, ranks: int, cuts: dict[str, Cut]) -> dict[str, Any]:
    return {name: curve(cut, rank, ranks) for name, cut in cuts.items()}


def ranked(ranks: int, cuts: dict[str, Cut]) -> dict[str, list[dict[str, float]]]:
    """Return the curves of several ranks, which must all have measured the same."""
    first, *others = run_ranks(work, ranks, cuts)
    assert all(other == first for other in others)
    return first
