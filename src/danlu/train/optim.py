"""From gradients to new weights: the optimisers by name, and which weights each treats how.

    adamw        torch's, fused where the device has a kernel
    adamw_bf16   half the memory of states; also for weights that are bfloat16 themselves
    muon         matrices by Muon; embeddings, head, biases and norms by AdamW

Weight decay pulls on matrices only. A bias or a norm's gain has no reason to be small.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from danlu.base.config import Section
from danlu.device.api import Device
from danlu.parallel.data import unwrap
from danlu.train.schedule import Schedule

__all__ = ["OPTIMIZERS", "Optim", "Schedule", "build_optimizer"]

OPTIMIZERS = {
    "adamw": "danlu.train.optim",
    "adamw_bf16": "danlu.train.adamw_bf16",
    "muon": "danlu.train.muon",
}


class Optim(Section):
    """How a gradient becomes a new weight."""

    name: Literal["adamw", "adamw_bf16", "muon"] = "adamw"
    """adamw; adamw_bf16: its states in bfloat16, half their memory; muon: orthogonal updates of matrices."""
    lr: float = Field(default=5e-4, gt=0)
    """Peak learning rate, reached after `warmup`. Muon's updates are sized so that AdamW's value serves."""
    betas: tuple[float, float] = (0.9, 0.95)
    """How long AdamW remembers the gradient and its square; nearer to 1 is longer."""
    momentum: float = Field(default=0.95, ge=0, lt=1)
    """How long muon remembers the gradient of a matrix."""
    eps: float = Field(default=1e-8, gt=0)
    """Keeps AdamW from dividing by nothing."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Share of a matrix taken off it each step, times the learning rate; biases and norms are spared."""
    max_norm: float = Field(default=1.0, ge=0)
    """Longer gradients are shortened to this length; 0: never."""
    schedule: Literal["minimind", "constant", "linear", "cosine", "wsd"] = "cosine"
    """The learning rate's way after the warm-up; minimind: its cosine to a tenth, without warm-up."""
    warmup: int | float = Field(default=0, ge=0)
    """Steps from `warmup_from` up to `lr`: a number of steps (100), or a share of the run (0.03)."""
    warmup_from: float = Field(default=0.0, ge=0, le=1)
    """Share of `lr` from which the warm-up rises."""
    min_lr_ratio: float = Field(default=0.1, ge=0, le=1)
    """Share of `lr` at which a decay ends."""
    decay: int | float = Field(default=0.2, ge=0)
    """wsd: the last steps, in which the learning rate falls: a number of steps, or a share of the run."""
    decay_until: float = Field(default=1.0, gt=0, le=1)
    """linear, cosine: the share of the run by which `min_lr_ratio` is reached; it stays there."""

    @model_validator(mode="after")
    def _sensible(self) -> Optim:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas: {list(self.betas)} must lie in [0, 1); try: betas=[0.9, 0.95]")
        for key, value in (("warmup", self.warmup), ("decay", self.decay)):
            if isinstance(value, float) and value > 1:
                steps = f"{key}={round(value)} for that many steps"
                raise ValueError(f"{key}: {value} is more than the whole run; try: {steps}")
        return self


def build_optimizer(model: nn.Module, cfg: Optim, device: Device) -> torch.optim.Optimizer:
    """Return the optimiser of a model's trainable weights."""
    optimizer = importlib.import_module(OPTIMIZERS[cfg.name]).build(groups(model, cfg), cfg, device)
    fill_states(optimizer)
    return optimizer


def build(groups: list[dict[str, Any]], cfg: Optim, device: Device) -> torch.optim.Optimizer:
    """Return torch's AdamW (Loshchilov and Hutter 2019, algorithm 2)."""
    fused = device.traits.fused_adamw
    return torch.optim.AdamW(groups, cfg.lr, cfg.betas, cfg.eps, fused=fused)


@torch.no_grad()
def fill_states(optimizer: torch.optim.Optimizer) -> None:
    """Make every state that the first step would make, so that a checkpoint finds them all.

    A step of learning rate 0 on gradients of 0 makes them and changes nothing else.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    rates = [group["lr"] for group in optimizer.param_groups]
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    for weight in weights:
        optimizer.state[weight].get("step", torch.zeros(())).zero_()


def groups(model: nn.Module, cfg: Optim) -> list[dict[str, Any]]:
    """Return the trainable weights in three groups: matrices, tables of words, and vectors.

    A table (embedding, head) is a matrix by shape, but its rows are words: they decay, and muon leaves
    them to AdamW.
    """
    sorted_ = {"matrices": [], "tables": [], "vectors": []}  # type: dict[str, list[nn.Parameter]]
    for parameter, is_table in _trainable(unwrap(model)):
        kind = "vectors" if parameter.ndim < 2 else "tables" if is_table else "matrices"
        sorted_[kind].append(parameter)
    return [
        {"params": parameters, "kind": kind, "weight_decay": 0.0 if kind == "vectors" else cfg.weight_decay}
        for kind, parameters in sorted_.items()
        if parameters
    ]


def _trainable(model: nn.Module) -> Iterator[tuple[nn.Parameter, bool]]:
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    tables |= {id(weight) for name, weight in model.named_parameters() if name.endswith("lm_head.weight")}
    for parameter in model.parameters():
        if parameter.requires_grad:
            yield parameter, id(parameter) in tables
