"""Normalisation before every sublayer: RMSNorm, or LayerNorm where a family has it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from danlu.device import ops
from danlu.model.shape import ModelConfig


class RmsNorm(nn.Module):
    """x over its root mean square, times a weight, which may count from one."""

    def __init__(self, width: int, eps: float, offset: bool = False) -> None:
        super().__init__()
        self.eps, self.offset = eps, offset
        self.weight = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        weight = 1.0 + self.weight.float() if self.offset else self.weight
        return ops.rms_norm(x, weight, self.eps)


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


def build_norm(cfg: ModelConfig, width: int | None = None) -> RmsNorm | LayerNorm:
    """Return a norm of the model's kind, as wide as the residual stream unless told."""
    if cfg.norm == "layer":
        return LayerNorm(width or cfg.hidden_size, cfg.norm_eps)
    return RmsNorm(width or cfg.hidden_size, cfg.norm_eps, cfg.norm_offset)
