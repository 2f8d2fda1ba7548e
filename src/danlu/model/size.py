"""How large a model is and what a token of it costs, from its configuration alone.

count     every weight
active    the weights one token meets: all but the experts it is not sent to
flops     6 for each active weight that multiplies (2 forward, 4 backward), plus attention
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from danlu.model.shape import Latent, ModelConfig


def count(cfg: ModelConfig) -> int:
    """Return the number of parameters."""
    return _weights(cfg, cfg.moe.num_experts if cfg.moe else 0)


def active(cfg: ModelConfig) -> int:
    """Return the number of parameters that one token meets."""
    return _weights(cfg, cfg.moe.num_experts_per_tok if cfg.moe else 0)


def flops_per_token(cfg: ModelConfig, mean_context: float) -> float:
    """Return the floating-point operations of training on one token.

    `mean_context` is how many keys a query sees on average: half the length of a sample. Looking up an
    embedding multiplies nothing; a tied one is counted once, as the head.
    """
    lookup = 0 if cfg.tie_word_embeddings else cfg.vocab_size * cfg.hidden_size
    attention = 12 * cfg.num_hidden_layers * cfg.num_attention_heads * cfg.head_dim * mean_context
    return 6 * (active(cfg) - lookup) + attention


def _weights(cfg: ModelConfig, experts: int) -> int:
    """Return the number of parameters with so many experts in each layer that has them."""
    dense = cfg.moe.first_dense_layers if cfg.moe else cfg.num_hidden_layers
    blocks = cfg.num_hidden_layers * _around(cfg) + dense * _mlp(cfg, cfg.intermediate_size, cfg.mlp_bias)
    if cfg.moe:
        blocks += (cfg.num_hidden_layers - dense) * _moe(cfg, experts)
    tables = cfg.vocab_size * cfg.hidden_size * (1 if cfg.tie_word_embeddings else 2)
    tables += cfg.vocab_size if cfg.head_bias else 0
    tables += cfg.max_position_embeddings * cfg.hidden_size if cfg.position == "learned" else 0
    return tables + blocks + (2 if cfg.embedding_norm else 1) * _norm(cfg)


def _around(cfg: ModelConfig) -> int:
    """Attention and the norms of a block."""
    if cfg.latent:
        return _latent(cfg, cfg.latent) + 2 * _norm(cfg)
    query = cfg.num_attention_heads * cfg.head_dim
    key = cfg.num_key_value_heads * cfg.head_dim
    weights = cfg.hidden_size * (2 * query + 2 * key) + _head_norms(cfg)
    biases = (query + 2 * key if cfg.qkv_bias else 0) + (cfg.hidden_size if cfg.output_bias else 0)
    norms = (4 if cfg.sandwich else 2) - (cfg.parallel == "one norm")
    return weights + biases + norms * _norm(cfg)


def _latent(cfg: ModelConfig, latent: Latent) -> int:
    C, H = cfg.hidden_size, cfg.num_attention_heads
    query = H * cfg.head_dim
    rank = latent.q_lora_rank
    queries = C * query if rank is None else rank * (C + query + 1)
    narrow = latent.kv_lora_rank
    told = C * (narrow + latent.qk_rope_head_dim) + narrow
    told += narrow * H * (latent.qk_nope_head_dim + latent.v_head_dim)
    return queries + told + H * latent.v_head_dim * C


def _head_norms(cfg: ModelConfig) -> int:
    heads = cfg.num_attention_heads + cfg.num_key_value_heads if cfg.qk_norm == "all heads" else 2
    return heads * cfg.head_dim if cfg.qk_norm else 0


def _norm(cfg: ModelConfig) -> int:
    return cfg.hidden_size * (1 if cfg.norm == "rms" else 2)


def _mlp(cfg: ModelConfig, width: int, bias: bool) -> int:
    matrices = 3 if cfg.gated else 2
    return matrices * cfg.hidden_size * width + ((matrices - 1) * width + cfg.hidden_size if bias else 0)


def _moe(cfg: ModelConfig, experts: int) -> int:
    assert cfg.moe
    router = cfg.moe.num_experts * cfg.hidden_size
    shared = _mlp(cfg, cfg.moe.shared_width, False) if cfg.moe.num_shared_experts else 0
    gate = cfg.hidden_size if cfg.moe.num_shared_experts and cfg.moe.shared_gated else 0
    return experts * _mlp(cfg, cfg.moe.moe_intermediate_size, False) + router + shared + gate
