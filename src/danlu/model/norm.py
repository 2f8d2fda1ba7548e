"""Normalisation before every sublayer: RMSNorm, or LayerNorm where a family has it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from danlu.device import ops


class RmsNorm(nn.Module):
    """x over its root mean square, times a weight."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        return ops.rms_norm(x, self.weight, self.eps)


class LayerNorm(nn.Module):
    """x less its mean over its standard deviation, times a weight, plus a bias."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(width))
        self.bias = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        wide = F.layer_norm(x.float(), self.weight.shape, self.weight.float(), self.bias.float(), self.eps)
        return wide.to(x.dtype)


NORMS: dict[str, type[RmsNorm] | type[LayerNorm]] = {"rms": RmsNorm, "layer": LayerNorm}
