"""AdamW with its states in bfloat16: half the memory, and what rounding loses is kept.

A bfloat16 number holds 8 binary digits. A small change added to a large number is rounded away
entirely, again and again, and learning stands still. So whatever collects many small changes has a
second bfloat16 beside it, the part lost by rounding (Kahan 1965), added back at the next change:

    value + lost  <-  value + lost + change     value takes the top 8 digits, lost the next 8

That is done for weights that are bfloat16 themselves, and for the second moment when beta2 is so
near 1 that a step changes it by less than its last digit. The arithmetic is float32, one weight after
another: it saves memory, not time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from danlu.device.api import Device
from danlu.parallel.shards import local

# Nearer to 1, a step's part of the second moment is below half of bfloat16's last digit (2 ** -9).
LOSSLESS_BETA2 = 0.99


def build(groups: list[dict[str, Any]], cfg: Any, device: Device) -> torch.optim.Optimizer:
    """Return the optimiser that `cfg` describes."""
    return AdamWBF16(groups, cfg.lr, cfg.betas, cfg.eps)


class AdamWBF16(torch.optim.Optimizer):
    """AdamW (Loshchilov and Hutter 2019, algorithm 2) on compensated bfloat16 states."""

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.1,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move every weight that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    state = self.state[weight] or self._begin(weight, group["betas"])
                    state["step"] += 1
                    _update({key: local(value) for key, value in state.items()}, weight, group)

    def _begin(self, weight: nn.Parameter, betas: tuple[float, float]) -> dict[str, Tensor]:
        state = self.state[weight]
        state["step"] = torch.zeros(())
        state["exp_avg"] = torch.zeros_like(weight, dtype=torch.bfloat16)
        state["exp_avg_sq"] = torch.zeros_like(weight, dtype=torch.bfloat16)
        if weight.dtype is torch.bfloat16:
            state["lost"] = torch.zeros_like(weight)
        if betas[1] > LOSSLESS_BETA2:
            state["lost_sq"] = torch.zeros_like(weight, dtype=torch.bfloat16)
        return state


def _update(state: dict[str, Tensor], weight: nn.Parameter, group: dict[str, Any]) -> None:
    """Move one weight by one step."""
    assert weight.grad is not None
    value, grad = local(weight), local(weight.grad).float()
    (beta1, beta2), t = group["betas"], float(state["step"])
    mean = add(state["exp_avg"], (grad - state["exp_avg"]) * (1 - beta1))
    square = state["exp_avg_sq"].float() + state.get("lost_sq", 0)
    square = add(state["exp_avg_sq"], (grad.square() - square) * (1 - beta2), state.get("lost_sq"))
    direction = (mean / (1 - beta1**t)) / ((square / (1 - beta2**t)).sqrt() + group["eps"])
    add(value, -group["lr"] * (direction + group["weight_decay"] * value), state.get("lost"))


def add(value: Tensor, change: Tensor, lost: Tensor | None = None) -> Tensor:
    """Add a float32 change to a number of few digits, keeping in `lost` what it cannot hold.

    Returns the sum before rounding.

    >>> value, lost = torch.ones(1, dtype=torch.bfloat16), torch.zeros(1, dtype=torch.bfloat16)
    >>> for _ in range(1000):
    ...     _ = add(value, torch.tensor([1e-3]), lost)
    >>> round(float(value), 1)
    2.0
    """
    total = value.float() + change if lost is None else value.float() + (lost.float() + change)
    value.copy_(total)
    if lost is not None:
        lost.copy_(total - value.float())
    return total
