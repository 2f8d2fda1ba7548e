"""The shape of a MiniMind model: told by its tensors as far as they go, the rest by its generation.

A .pth file holds no configuration. Widths, layers, experts and ties show in the tensors; how many heads
there are without head norms, how many experts a token goes to, the rotary base and the norms' epsilon do
not. For those stand here the defaults of each generation, which the user's hints go before:

    generation   known by         heads  experts  theta   epsilon
    1            tok_embeddings   8 (16) 2        1e6 (1e4, where two query heads share a key) 1e-5
    2            self_attn        8      2        1e6     1e-5
    3            head norms       shown  1        1e6     1e-6

MiniMind's stretching of positions is a switch of whoever reads, never in the file: off unless asked for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convert.minimind_names import EMBEDDING, HEAD
from danlu.base.config import check
from danlu.base.errors import UserError
from danlu.model.shape import ModelConfig, RopeScaling


@dataclass(frozen=True)
class Hints:
    """What the user knows about a model and its file does not say; None: as the generation has it."""

    num_attention_heads: int | None = None
    num_experts_per_tok: int | None = None
    rope_theta: float | None = None
    norm_eps: float | None = None
    max_position_embeddings: int | None = None
    norm_topk_prob: bool | None = None
    rope_scaling: bool | None = None
    """Read positions stretched, as with MiniMind's inference_rope_scaling."""


USUAL: dict[str, Any] = {"num_experts_per_tok": 2, "norm_topk_prob": True, "rope_theta": 1e6}
LATER: dict[str, Any] = USUAL | {"norm_eps": 1e-5, "max_position_embeddings": 32768}
DEFAULTS: dict[str, dict[str, Any]] = {
    "1": LATER | {"num_attention_heads": 8},
    "2": LATER | {"num_attention_heads": 8},
    "3": LATER | {"num_experts_per_tok": 1, "norm_eps": 1e-6},
}
FIRST_OF_ALL = {"num_attention_heads": 16, "rope_theta": 1e4, "max_position_embeddings": 512}
"""Generation 1 before its keys were shared by four."""

YARN = RopeScaling(
    rope_type="yarn",
    factor=16.0,
    original_max_position_embeddings=2048,
    attention_factor=1.0,
    beta_fast=32.0,
    beta_slow=1.0,
)
"""What MiniMind's inference_rope_scaling does."""


class Shape:
    """The shape in a file's tensors, and what had to be assumed."""

    def __init__(
        self, tensors: Mapping[str, Tensor], hints: Hints, source: str, generation: str | None = None
    ) -> None:
        self.tensors, self.hints, self.source = tensors, hints, source
        self.generation = generation or ("3" if f"{LAYER}.self_attn.q_norm.weight" in tensors else "2")
        self.defaults = dict(DEFAULTS[self.generation])
        if self.generation == "1" and self._rows("q_proj") == 2 * self._rows("k_proj"):
            self.defaults |= FIRST_OF_ALL
        self.assumed: dict[str, Any] = {}

    def config(self) -> ModelConfig:
        """Return the model's configuration; `assumed` then holds what no tensor and no hint told."""
        vocabulary, width = self._matrix(EMBEDDING)
        keys = self._heads(width) | self._mlp() | self._positions()
        keys |= {
            "vocab_size": vocabulary,
            "hidden_size": width,
            "num_hidden_layers": 1 + self._last("model.layers"),
            "norm_eps": self._told("norm_eps"),
            "tie_word_embeddings": self._tied(),
        }
        cfg = check(ModelConfig, keys, self.source)
        if cfg.rope_scaling and not stretches_alike(cfg):
            raise self._no(
                "rope_scaling: MiniMind stretches heads of this shape in its own way", "without it"
            )
        return cfg

    def _told(self, key: str) -> Any:
        """Return a value that tensors do not tell: the user's, or the generation's."""
        value = getattr(self.hints, key)
        if value is None:
            value = self.assumed[key] = self.defaults[key]
        return value

    def _heads(self, width: int) -> dict[str, Any]:
        queries, keys = self._rows("q_proj"), self._rows("k_proj")
        if self.generation == "3":
            head = len(self._get(f"{LAYER}.self_attn.q_norm.weight"))
            heads = queries // head
            if self.hints.num_attention_heads not in (None, heads):
                raise self._no(f"num_attention_heads: the file says {heads}", "without that value")
        else:
            heads = self._told("num_attention_heads")
            head = width // max(heads, 1)
        if heads < 1 or head < 1 or heads * head != queries or keys % head:
            raise self._no(
                f"num_attention_heads: {heads} of {head} do not make up {queries} and {keys} rows",
                "num_attention_heads as it was trained with",
            )
        return {
            "num_attention_heads": heads,
            "num_key_value_heads": keys // head,
            "head_dim": head,
            "qk_norm": self.generation == "3",
        }

    def _mlp(self) -> dict[str, Any]:
        if f"{LAYER}.mlp.gate.weight" not in self.tensors:
            for key in ("num_experts_per_tok", "norm_topk_prob"):
                if getattr(self.hints, key) is not None:
                    raise self._no(f"{key}: there are no experts in the file", "without that value")
            return {"intermediate_size": self._matrix(f"{LAYER}.mlp.gate_proj.weight")[0]}
        width = self._matrix(f"{LAYER}.mlp.experts.0.gate_proj.weight")[0]
        chosen = self._told("num_experts_per_tok")
        if chosen == 1 and self.generation != "3":
            self.defaults["norm_topk_prob"] = False  # theirs leaves the share of one expert alone as it is
        moe = {
            "num_experts": self._counted(f"{LAYER}.mlp.gate", self._matrix(f"{LAYER}.mlp.gate.weight")[0]),
            "num_experts_per_tok": chosen,
            "moe_intermediate_size": width,
            "norm_topk_prob": self._told("norm_topk_prob"),
            "num_shared_experts": 1 + self._last(f"{LAYER}.mlp.shared_experts"),
        }
        # How it was trained, for whoever trains on. Theirs counts every choice: chosen times ours.
        newest = {"balance": "token", "balance_coef": 5e-4 * chosen}
        balance = newest if self.generation == "3" else {"balance": "sequence", "balance_coef": 0.01}
        return {"intermediate_size": width, "moe": moe | balance}

    def _positions(self) -> dict[str, Any]:
        keys = {key: self._told(key) for key in ("rope_theta", "max_position_embeddings")}
        if not self.hints.rope_scaling or keys["max_position_embeddings"] <= 2048:
            return keys  # MiniMind stretches nothing that is not longer than 2048
        return keys | {"rope_scaling": YARN.model_dump(exclude_none=True)}

    def _tied(self) -> bool:
        head, embedding = self.tensors.get(HEAD), self._get(EMBEDDING)
        if head is None:
            return True
        return head.dtype == embedding.dtype and torch.equal(_bits(head), _bits(embedding))

    def _rows(self, name: str) -> int:
        return self._matrix(f"{LAYER}.self_attn.{name}.weight")[0]

    def _matrix(self, name: str) -> tuple[int, int]:
        tensor = self._get(name)
        if tensor.dim() != 2 or 0 in tensor.shape:
            raise self._no(f"{name}: is {tuple(tensor.shape)}, not a matrix", "a model MiniMind wrote")
        return tensor.shape[0], tensor.shape[1]

    def _get(self, name: str) -> Tensor:
        if name not in self.tensors:
            raise self._no(f"{name}: is missing", "a whole file of a MiniMind model")
        return self.tensors[name]

    def _last(self, prefix: str) -> int:
        """Return the highest number after a prefix, -1 where there is none."""
        numbered = (re.match(re.escape(prefix) + r"\.(\d+)\.", name) for name in self.tensors)
        return self._counted(prefix, max((int(match[1]) for match in numbered if match), default=-1))

    def _counted(self, name: str, count: int) -> int:
        """Return a count that a file can hold; a forged one would have us list names for days."""
        if count > len(self.tensors):
            raise self._no(f"{name}: counts to {count} in {len(self.tensors)} tensors", "a whole file")
        return count

    def _no(self, problem: str, hint: str) -> UserError:
        return UserError(f"{self.source}: {problem}", hint)


LAYER = "model.layers.0"


def _bits(tensor: Tensor) -> Tensor:
    """Return a tensor as bytes: zeros of either sign differ, and what is no number equals itself."""
    return tensor.contiguous().view(torch.uint8)


def settings(cfg: ModelConfig, generation: str) -> dict[str, Any]:
    """Return the keywords of MiniMindConfig that make a model of this shape: no file holds them."""
    named = {
        "hidden_size": cfg.hidden_size,
        "intermediate_size": cfg.intermediate_size,
        "num_hidden_layers": cfg.num_hidden_layers,
        "num_attention_heads": cfg.num_attention_heads,
        "num_key_value_heads": cfg.num_key_value_heads,
        "vocab_size": cfg.vocab_size,
        "rms_norm_eps": cfg.norm_eps,
        "rope_theta": cfg.rope_theta,
        "max_position_embeddings": cfg.max_position_embeddings,
        "inference_rope_scaling": cfg.rope_scaling is not None,
        "use_moe": cfg.moe is not None,
    }
    if generation == "3":
        named |= {"head_dim": cfg.head_dim, "tie_word_embeddings": cfg.tie_word_embeddings}
    if cfg.moe:
        named |= _mixture_settings(cfg, generation)
    return named


def _mixture_settings(cfg: ModelConfig, generation: str) -> dict[str, Any]:
    moe = cfg.moe
    assert moe
    named = {"num_experts_per_tok": moe.num_experts_per_tok, "norm_topk_prob": moe.norm_topk_prob}
    if generation == "3":
        return named | {"num_experts": moe.num_experts, "moe_intermediate_size": moe.moe_intermediate_size}
    routed = {"n_routed_experts": moe.num_experts, "n_shared_experts": moe.num_shared_experts}
    return named | routed | {"intermediate_size": moe.moe_intermediate_size}


def stretches_alike(cfg: ModelConfig) -> bool:
    """Return whether YaRN's ramp ends among the pairs: MiniMind cuts it there, published models later."""
    end = cfg.head_dim * math.log(2048 / (2 * math.pi)) / (2 * math.log(cfg.rope_theta))
    return math.ceil(end) <= cfg.head_dim // 2 - 1


def hints_for(cfg: ModelConfig) -> Hints:
    """Return what a file of this model will not say."""
    moe = cfg.moe
    return Hints(
        num_attention_heads=cfg.num_attention_heads,
        num_experts_per_tok=moe.num_experts_per_tok if moe else None,
        rope_theta=cfg.rope_theta,
        norm_eps=cfg.norm_eps,
        max_position_embeddings=cfg.max_position_embeddings,
        norm_topk_prob=moe.norm_topk_prob if moe else None,
        rope_scaling=cfg.rope_scaling is not None,
    )
