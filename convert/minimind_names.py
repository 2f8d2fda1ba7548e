"""Which tensor of a MiniMind file is which part of ours, in the order its model registers them.

    theirs                                              ours
    model.layers.0.mlp.gate_proj.weight                 the same name
    model.layers.0.mlp.experts.2.up_proj.weight         mlp.experts.gate_up_proj   [2, width:]
    model.layers.0.mlp.shared_experts.1.down_proj...    mlp.shared_expert.down_proj.weight  [:, width:]
    lm_head.weight                                      model.embed_tokens.weight, where tied

Shared experts add up, and a sum of two MLPs is one MLP that is twice as wide: theirs stand side by side
in ours. Generations 2 and 3 differ in head norms and in the order of a mixture; generation 1 is renamed
to 2 on reading (`minimind_first`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor

from danlu.model.shape import ModelConfig

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


class Piece(NamedTuple):
    """One tensor of theirs, and where it lies in one of ours."""

    theirs: str
    ours: str
    place: tuple[Any, ...] = ()

    def of(self, ours: Tensor) -> Tensor:
        """Return the piece, a view of our tensor."""
        return ours[self.place] if self.place else ours


def pieces(cfg: ModelConfig, generation: str) -> Iterator[Piece]:
    """Yield everything a file holds, in the order MiniMind writes it."""
    yield Piece(EMBEDDING, EMBEDDING)
    for layer in range(cfg.num_hidden_layers):
        own = f"model.layers.{layer}"
        norms = ("self_attn.q_norm", "self_attn.k_norm") if cfg.qk_norm else ()
        heads = (f"self_attn.{letter}_proj" for letter in "qkvo")
        for name in (*heads, *norms, "input_layernorm", "post_attention_layernorm"):
            yield Piece(f"{own}.{name}.weight", f"{own}.{name}.weight")
        yield from _mixture(f"{own}.mlp", cfg, generation) if cfg.moe else _mlp(f"{own}.mlp")
    yield Piece("model.norm.weight", "model.norm.weight")
    yield Piece(HEAD, EMBEDDING if cfg.tie_word_embeddings else HEAD)


MATRICES = ("gate_proj", "down_proj", "up_proj")


def _mlp(own: str) -> Iterator[Piece]:
    for name in MATRICES:
        yield Piece(f"{own}.{name}.weight", f"{own}.{name}.weight")


def _mixture(own: str, cfg: ModelConfig, generation: str) -> Iterator[Piece]:
    router = Piece(f"{own}.gate.weight", f"{own}.gate.weight")
    if generation == "3":
        yield router
    yield from _experts(own, cfg)
    if generation != "3":
        yield router
        yield from _shared(own, cfg)


def _experts(own: str, cfg: ModelConfig) -> Iterator[Piece]:
    assert cfg.moe
    width = cfg.moe.moe_intermediate_size
    rows = {"gate_proj": slice(0, width), "up_proj": slice(width, 2 * width)}
    for expert in range(cfg.moe.num_experts):
        for name in MATRICES:
            stack, place = (
                ("gate_up_proj", (expert, rows[name])) if name in rows else ("down_proj", (expert,))
            )
            yield Piece(f"{own}.experts.{expert}.{name}.weight", f"{own}.experts.{stack}", place)


def _shared(own: str, cfg: ModelConfig) -> Iterator[Piece]:
    assert cfg.moe
    width = cfg.moe.moe_intermediate_size
    for expert in range(cfg.moe.num_shared_experts):
        own_part = slice(expert * width, (expert + 1) * width)
        for name in MATRICES:
            place = (slice(None), own_part) if name == "down_proj" else (own_part,)
            yield Piece(
                f"{own}.shared_experts.{expert}.{name}.weight", f"{own}.shared_expert.{name}.weight", place
            )
