"""Latent attention (DeepSeek-V2): keys and values of all heads are told from one narrow vector a token.

    query of a head    plain part | turned part        from the stream, or from a narrow vector of its own
    key of a head      plain part | turned part        the turned part is one for all heads
    value of a head                                    narrower or wider than a key

Keys and values are formed at once and kept whole: a cache of the narrow vectors would be smaller, and
slower here. A value is filled up to a key's width, so that every kernel can read it.

Letters: B rows, T tokens, C residual width, H heads, D width of a query, X width of a value.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from danlu.device import ops
from danlu.model.norm import RmsNorm
from danlu.model.shape import ModelConfig


def scale(cfg: ModelConfig) -> float:
    """Return what scores are multiplied by: YaRN's stretch sharpens them where mscale_all_dim says so."""
    usual = cfg.attention_scale or cfg.head_dim**-0.5
    scaling = cfg.rope_scaling
    if scaling is None or not scaling.mscale_all_dim:
        return usual
    factor = scaling.factor or cfg.max_position_embeddings / (scaling.original_max_position_embeddings or 1)
    slope = 0.1 * scaling.mscale_all_dim * math.log(factor) + 1.0 if factor > 1 else 1.0
    return usual * slope * slope


class LatentAttention(nn.Module):
    """Causal self-attention through narrow vectors."""

    def __init__(self, cfg: ModelConfig, layer: int) -> None:
        super().__init__()
        latent = cfg.latent
        assert latent
        self.layer, self.latent, self.H = layer, latent, cfg.num_attention_heads
        C, HD = cfg.hidden_size, self.H * cfg.head_dim
        told = latent.qk_nope_head_dim + latent.v_head_dim
        if latent.q_lora_rank is None:
            self.q_proj = nn.Linear(C, HD, bias=False)
        else:
            self.q_a_proj = nn.Linear(C, latent.q_lora_rank, bias=False)
            self.q_a_layernorm = RmsNorm(latent.q_lora_rank, 1e-6)
            self.q_b_proj = nn.Linear(latent.q_lora_rank, HD, bias=False)
        self.kv_a_proj_with_mqa = nn.Linear(C, latent.kv_lora_rank + latent.qk_rope_head_dim, bias=False)
        self.kv_a_layernorm = RmsNorm(latent.kv_lora_rank, 1e-6)
        self.kv_b_proj = nn.Linear(latent.kv_lora_rank, self.H * told, bias=False)
        self.o_proj = nn.Linear(self.H * latent.v_head_dim, C, bias=False)
        self.scale = scale(cfg)
        self.attend = ops.attention

    def forward(
        self, x_BTC: Tensor, turn: tuple[Tensor, Tensor] | None, layout: ops.Layout, cache: Any
    ) -> Tensor:
        assert turn is not None
        latent, heads = self.latent, (self.H, -1)
        q_BTHD = self._queries(x_BTC).unflatten(-1, heads)
        plain_BTHp, turned_BTHr = q_BTHD.split((latent.qk_nope_head_dim, latent.qk_rope_head_dim), -1)
        narrow, shared = self.kv_a_proj_with_mqa(x_BTC).split(
            (latent.kv_lora_rank, latent.qk_rope_head_dim), -1
        )
        told = self.kv_b_proj(self.kv_a_layernorm(narrow)).unflatten(-1, heads)
        key_BTHp, v_BTHX = told.split((latent.qk_nope_head_dim, latent.v_head_dim), -1)
        turned_BTHr, shared_BT1r = ops.rotary(turned_BTHr, shared.unsqueeze(2), *turn)
        q_BTHD = torch.cat((plain_BTHp, turned_BTHr), -1)
        k_BTHD = torch.cat((key_BTHp, shared_BT1r.expand(-1, -1, self.H, -1)), -1)
        k_BSHD, v_BSHX = (k_BTHD, v_BTHX) if cache is None else cache.append(self.layer, k_BTHD, v_BTHX)
        D, X = q_BTHD.shape[-1], v_BSHX.shape[-1]
        width = max(D, X)
        q, k, v = (F.pad(part, (0, width - part.shape[-1])) for part in (q_BTHD, k_BSHD, v_BSHX))
        return self.o_proj(self.attend(q, k, v, layout, self.scale)[..., :X].flatten(2))

    def _queries(self, x_BTC: Tensor) -> Tensor:
        if self.latent.q_lora_rank is None:
            return self.q_proj(x_BTC)
        return self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x_BTC)))
