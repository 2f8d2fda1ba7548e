"""Muon: every matrix moves by an orthogonal matrix, so all its directions learn at one pace.

    momentum -> nearest (semi-)orthogonal matrix -> weight

(Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".) A stack of experts
[E, rows, columns] is E matrices, each made orthogonal by itself. Embedding, head, biases and norms are
no linear maps of hidden states and go to AdamW.

An orthogonal R x C matrix has root mean square 1 / sqrt(max(R, C)); multiplied by 0.2 sqrt(max(R, C)) it
moves a weight as far as AdamW does, so one learning rate and one decay serve both (Liu et al. 2025,
"Muon is scalable for LLM training", equation 4).

Under fsdp a matrix is gathered before it is made orthogonal, and each rank keeps its own share: the
result is that of one rank. A stack of experts cut between experts is gathered nowhere.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from danlu.device.api import Device
from danlu.parallel.shards import local, share, whole

# Coefficients of the quintic that pushes singular values between 0.01 and 1 to about 1 in five steps.
QUINTIC = (3.4445, -4.7750, 2.0315)
STEPS = 5
AS_ADAMW = 0.2


def build(groups: list[dict[str, Any]], cfg: Any, device: Device) -> torch.optim.Optimizer:
    """Return the optimiser that `cfg` describes."""
    # The iteration corrects its own rounding; where bfloat16 is no faster there is nothing to gain.
    fast = device.traits.bf16 and device.kind != "cpu"
    return Muon(
        groups,
        lr=cfg.lr,
        momentum=cfg.momentum,
        betas=cfg.betas,
        eps=cfg.eps,
        fused=device.traits.fused_adamw,
        dtype=torch.bfloat16 if fast else torch.float32,
    )


class Muon(torch.optim.Optimizer):
    """Muon for the groups of kind "matrices", AdamW for all others."""

    def __init__(
        self,
        groups: list[dict[str, Any]],
        lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        fused: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": 0.1, "kind": "matrices"})
        self.momentum = momentum
        self.dtype = dtype
        others = [group for group in self.param_groups if group["kind"] != "matrices"]
        self.adamw = torch.optim.AdamW(others, lr, betas, eps, fused=fused) if others else None
        if self.adamw is not None:
            self.adamw.state = self.state  # one place to save; the groups are the same dictionaries already

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move every weight that has a gradient."""
        for group in self.param_groups:
            if group["kind"] == "matrices":
                for weight in group["params"]:
                    if weight.grad is not None:
                        self._move(weight, group["lr"], group["weight_decay"])
        if self.adamw is not None:
            self.adamw.step()

    def _move(self, weight: Tensor, lr: float, weight_decay: float) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        assert weight.grad is not None
        memory_XRC, grad_XRC = local(state["momentum"]), local(weight.grad)
        memory_XRC.mul_(self.momentum).add_(grad_XRC)
        ahead_XRC = grad_XRC.add(memory_XRC, alpha=self.momentum)  # Nesterov's look ahead
        if weight.ndim == 2:
            step_XRC = share(orthogonal(whole(ahead_XRC, weight).to(self.dtype)), weight)
        else:
            step_XRC = orthogonal(ahead_XRC.to(self.dtype))
        size = AS_ADAMW * max(weight.shape[-2:]) ** 0.5
        local(weight).mul_(1 - lr * weight_decay).add_(step_XRC, alpha=-lr * size)


def orthogonal(matrix_XRC: Tensor) -> Tensor:
    """Return the nearest (semi-)orthogonal matrix, roughly: singular values near 1 (Newton and Schulz).

    X is any number of leading dims, each matrix by itself.
    """
    a, b, c = QUINTIC
    tall = matrix_XRC.shape[-2] > matrix_XRC.shape[-1]
    x_XSL = matrix_XRC.mT if tall else matrix_XRC  # S the shorter side, L the longer
    x_XSL = x_XSL / (x_XSL.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(STEPS):
        gram_XSS = x_XSL @ x_XSL.mT
        x_XSL = a * x_XSL + (b * gram_XSS + c * gram_XSS @ gram_XSS) @ x_XSL
    return x_XSL.mT if tall else x_XSL
