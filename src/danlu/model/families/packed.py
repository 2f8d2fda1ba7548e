"""Queries, keys and values that lie in one matrix on disk, head by head or group by group."""

from __future__ import annotations

import re
from collections.abc import Callable

from danlu.model.families.family import Fused, Part
from danlu.model.shape import ModelConfig


def attention_part(name: str) -> tuple[str, str, str] | None:
    """Return (layer, "q" or "k" or "v", "weight" or "bias") of a weight that is such a one.

    >>> attention_part("model.layers.3.self_attn.k_proj.bias")
    ('3', 'k', 'bias')
    """
    match = re.fullmatch(r"model\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(weight|bias)", name)
    return (match[1], match[2], match[3]) if match else None


def by_heads(theirs: str) -> Callable[[str, ModelConfig], list[Part]]:
    """Return where queries, keys and values lie in one matrix, head by head: q k v, q k v, ..."""

    def fused(name: str, cfg: ModelConfig) -> list[Part]:
        found = attention_part(name)
        if found is None:
            return []
        layer, which, kind = found
        H, D, C = cfg.num_attention_heads, cfg.head_dim, cfg.hidden_size
        shape, tail = ((3 * H * D, C), (C,)) if kind == "weight" else ((3 * H * D,), ())
        lies = Fused(shape, (H, 3, D, *tail), (), (slice(None), "qkv".index(which)))
        return [Part(f"{theirs.format(layer)}.{kind}", fused=lies)]

    return fused


def by_groups(theirs: str) -> Callable[[str, ModelConfig], list[Part]]:
    """Return where they lie in one matrix, group by group: its queries, their key, their value."""

    def fused(name: str, cfg: ModelConfig) -> list[Part]:
        found = attention_part(name)
        if found is None:
            return []
        layer, which, kind = found
        C, D, K = cfg.hidden_size, cfg.head_dim, cfg.num_key_value_heads
        group = cfg.num_attention_heads // K
        place = {"q": slice(0, group), "k": group, "v": group + 1}[which]
        rows = K * (group + 2) * D
        shape, tail = ((rows, C), (C,)) if kind == "weight" else ((rows,), ())
        lies = Fused(shape, (K, group + 2, D, *tail), (), (slice(None), place))
        return [Part(f"{theirs.format(layer)}.{kind}", fused=lies)]

    return fused
