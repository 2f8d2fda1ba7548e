"""Self-attention: projections, head norms, rotary positions, and whatever attends.

`attend` is a seam: context parallelism puts its own function there, with the signature of
`ops.attention`.

Letters: B rows, T tokens, C residual width, H query heads, K key heads, D head width, S keys seen.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from danlu.device import ops
from danlu.model.norm import build_norm
from danlu.model.shape import ModelConfig


def alibi_slopes(heads: int) -> list[float]:
    """Return what each head's scores fall by a token of distance (Press et al. 2022).

    >>> alibi_slopes(4)
    [0.25, 0.0625, 0.015625, 0.00390625]
    """
    whole = 2 ** math.floor(math.log2(heads))
    slopes = [2 ** (-8 * (head + 1) / whole) for head in range(whole)]
    between = [2 ** (-4 * (2 * head + 1) / whole) for head in range(heads - whole)]
    return slopes + between


class Attention(nn.Module):
    """Causal self-attention with grouped key heads."""

    def __init__(self, cfg: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.D = cfg.head_dim
        C, HD, KD = (
            cfg.hidden_size,
            cfg.num_attention_heads * cfg.head_dim,
            cfg.num_key_value_heads * cfg.head_dim,
        )
        self.q_proj = nn.Linear(C, HD, bias=cfg.qkv_bias)
        self.k_proj = nn.Linear(C, KD, bias=cfg.qkv_bias)
        self.v_proj = nn.Linear(C, KD, bias=cfg.qkv_bias)
        self.o_proj = nn.Linear(HD, C, bias=cfg.output_bias)
        self.norms_all = cfg.qk_norm == "all heads"
        query, key = (HD, KD) if self.norms_all else (cfg.head_dim, cfg.head_dim)
        self.q_norm = build_norm(cfg, query) if cfg.qk_norm else None
        self.k_norm = build_norm(cfg, key) if cfg.qk_norm else None
        self.scale = cfg.attention_scale or cfg.head_dim**-0.5
        self.window = cfg.sliding_window if cfg.windowed[layer] else None
        self.softcap = cfg.attention_softcap
        self.slopes = alibi_slopes(cfg.num_attention_heads) if "alibi" in cfg.position else None
        self.slope_dtype = torch.bfloat16 if cfg.position == "rounded alibi" else torch.float32
        self.attend = ops.attention

    def forward(
        self, x_BTC: Tensor, turn: tuple[Tensor, Tensor] | None, layout: ops.Layout, cache: Any
    ) -> Tensor:
        q_BTHD, k_BTKD, v_BTKD = (
            project(x_BTC).unflatten(-1, (-1, self.D)) for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        if self.q_norm is not None and self.k_norm is not None:
            if self.norms_all:
                q_BTHD = self.q_norm(q_BTHD.flatten(2)).view_as(q_BTHD)
                k_BTKD = self.k_norm(k_BTKD.flatten(2)).view_as(k_BTKD)
            else:
                q_BTHD, k_BTKD = self.q_norm(q_BTHD), self.k_norm(k_BTKD)
        if turn is not None:
            q_BTHD, k_BTKD = ops.rotary(q_BTHD, k_BTKD, *turn)
        k_BSKD, v_BSKD = (k_BTKD, v_BTKD) if cache is None else cache.append(self.layer, k_BTKD, v_BTKD)
        # A window that no sample outgrows hides nothing, and costs a mask.
        window = self.window if self.window is not None and layout.longest > self.window else None
        slopes_H = None
        if self.slopes is not None:
            slopes_H = torch.tensor(self.slopes, dtype=self.slope_dtype, device=x_BTC.device)
        out_BTHD = self.attend(q_BTHD, k_BSKD, v_BSKD, layout, self.scale, window, self.softcap, slopes_H)
        return self.o_proj(out_BTHD.flatten(2))
