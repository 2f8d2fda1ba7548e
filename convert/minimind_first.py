"""MiniMind's first generation (2024 to April 2025) under the second's names.

    layers.0.attention.wq          model.layers.0.self_attn.q_proj        rows in another order
    layers.0.feed_forward.w2       model.layers.0.mlp.down_proj
    tok_embeddings, output         model.embed_tokens, lm_head

It turned neighbouring numbers of a head together where later models turn its halves. Putting the rows of
queries and keys in the other order says the same, to the bit:

    a0 b0 a1 b1 a2 b2    becomes    a0 a1 a2 b0 b1 b2        in every head
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from danlu.model.shape import ModelConfig

RENAMES = (
    (r"^tok_embeddings\.", "model.embed_tokens."),
    (r"^output\.", "lm_head."),
    (r"^norm\.", "model.norm."),
    (r"^layers\.", "model.layers."),
    (r"\.attention\.w([qkvo])\.", r".self_attn.\1_proj."),
    (r"\.attention_norm\.", ".input_layernorm."),
    (r"\.ffn_norm\.", ".post_attention_layernorm."),
    (r"\.feed_forward\.", ".mlp."),
    (r"\.shared_experts\.w", ".shared_experts.0.w"),
    (r"\.w1\.", ".gate_proj."),
    (r"\.w2\.", ".down_proj."),
    (r"\.w3\.", ".up_proj."),
)


def is_first(tensors: Mapping[str, Tensor]) -> bool:
    """Return whether these are the names of the first generation."""
    return "tok_embeddings.weight" in tensors


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under the second generation's names, their rows still as they were."""
    return {_rename(name): tensor for name, tensor in tensors.items()}


def _rename(name: str) -> str:
    for pattern, later in RENAMES:
        name = re.sub(pattern, later, name)
    return name


def turned(name: str, tensor: Tensor, cfg: ModelConfig) -> Tensor:
    """Return a tensor with the rows of queries and keys in the later order."""
    if not name.endswith((".q_proj.weight", ".k_proj.weight")):
        return tensor
    pairs = tensor.unflatten(0, (-1, cfg.head_dim // 2, 2))
    return pairs.transpose(1, 2).reshape(tensor.shape)
