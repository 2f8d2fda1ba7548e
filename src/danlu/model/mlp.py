"""The MLP of a block, gated (Shazeer 2020) or plain."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from danlu.device import ops
from danlu.model.shape import ModelConfig

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
}


def gated(kind: str, gate: Tensor, up: Tensor) -> Tensor:
    """Return activation(gate) * up."""
    return ops.swiglu(gate, up) if kind == "silu" else ACTIVATIONS[kind](gate) * up


class Mlp(nn.Module):
    """down(activation(gate(x)) * up(x)), or down(activation(up(x)))."""

    def __init__(self, cfg: ModelConfig, width: int, bias: bool) -> None:
        super().__init__()
        self.activation = cfg.activation
        self.gate_proj = nn.Linear(cfg.hidden_size, width, bias=bias) if cfg.gated else None
        self.up_proj = nn.Linear(cfg.hidden_size, width, bias=bias)
        self.down_proj = nn.Linear(width, cfg.hidden_size, bias=bias)

    def forward(self, x_BTC: Tensor) -> Tensor:
        up = self.up_proj(x_BTC)
        if self.gate_proj is None:
            return self.down_proj(ACTIVATIONS[self.activation](up))
        return self.down_proj(gated(self.activation, self.gate_proj(x_BTC), up))
