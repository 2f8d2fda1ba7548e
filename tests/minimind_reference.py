"""MiniMind's models from their published formulas, slowly: one token, one head, one expert at a time.

It shares nothing with the package it checks, neither names' order nor layers.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Small:
    """A small model of one of the generations."""

    generation: str
    heads: int = 8
    kv: int = 2
    head: int = 6
    width: int = 48
    inner: int = 64
    layers: int = 2
    words: int = 97
    experts: int = 0
    chosen: int = 2
    shared: int = 0
    tied: bool = True
    eps: float = 1e-5
    theta: float = 1e6
    sum_to_one: bool = True


def made(small: Small, seed: int = 0, dtype: torch.dtype = torch.float16) -> dict[str, Tensor]:
    """Random weights as MiniMind's own model registers them (generation 2 and 3)."""
    generator = torch.Generator().manual_seed(seed)

    def matrix(rows: int, columns: int) -> Tensor:
        return (torch.randn(rows, columns, generator=generator) / columns**0.5).to(dtype)

    def norm(size: int) -> Tensor:
        return (1 + 0.3 * torch.randn(size, generator=generator)).to(dtype)

    def mlp(own: str) -> None:
        state[f"{own}.gate_proj.weight"] = matrix(small.inner, small.width)
        state[f"{own}.down_proj.weight"] = matrix(small.width, small.inner)
        state[f"{own}.up_proj.weight"] = matrix(small.inner, small.width)

    state = {"model.embed_tokens.weight": matrix(small.words, small.width)}
    for layer in range(small.layers):
        at = f"model.layers.{layer}"
        state[f"{at}.self_attn.q_proj.weight"] = matrix(small.heads * small.head, small.width)
        state[f"{at}.self_attn.k_proj.weight"] = matrix(small.kv * small.head, small.width)
        state[f"{at}.self_attn.v_proj.weight"] = matrix(small.kv * small.head, small.width)
        state[f"{at}.self_attn.o_proj.weight"] = matrix(small.width, small.heads * small.head)
        if small.generation == "3":
            state[f"{at}.self_attn.q_norm.weight"] = norm(small.head)
            state[f"{at}.self_attn.k_norm.weight"] = norm(small.head)
        state[f"{at}.input_layernorm.weight"] = norm(small.width)
        state[f"{at}.post_attention_layernorm.weight"] = norm(small.width)
        if not small.experts:
            mlp(f"{at}.mlp")
            continue
        gate = {f"{at}.mlp.gate.weight": matrix(small.experts, small.width)}
        state |= gate if small.generation == "3" else {}
        for expert in range(small.experts):
            mlp(f"{at}.mlp.experts.{expert}")
        state |= gate
        for expert in range(small.shared):
            mlp(f"{at}.mlp.shared_experts.{expert}")
    state["model.norm.weight"] = norm(small.width)
    head = state["model.embed_tokens.weight"] if small.tied else matrix(small.words, small.width)
    state["lm_head.weight"] = head.clone()
    return state


def logits(state: dict[str, Tensor], small: Small, tokens_T: Tensor) -> Tensor:
    """Every word's score after each token, in float64 from the weights as they are in the file."""
    w = {name: tensor.double() for name, tensor in state.items()}
    x_TC = w["model.embed_tokens.weight"][tokens_T]
    for layer in range(small.layers):
        at = f"model.layers.{layer}"
        read_TC = _norm(x_TC, w[f"{at}.input_layernorm.weight"], small.eps)
        x_TC = x_TC + _attention(w, f"{at}.self_attn", read_TC, small)
        read_TC = _norm(x_TC, w[f"{at}.post_attention_layernorm.weight"], small.eps)
        x_TC = x_TC + torch.stack([_feed(w, f"{at}.mlp", read_C, small) for read_C in read_TC])
    return _norm(x_TC, w["model.norm.weight"], small.eps) @ w["lm_head.weight"].T


def _norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return weight * x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt()


def _turn(x_H: Tensor, place: int, small: Small) -> Tensor:
    """Turn the pairs of one head: halves, or in generation 1 neighbours."""
    turned = x_H.clone()
    half = small.head // 2
    for pair in range(half):
        a, b = (2 * pair, 2 * pair + 1) if small.generation == "1" else (pair, pair + half)
        angle = torch.tensor(place * small.theta ** (-2 * pair / small.head), dtype=torch.float64)
        turned[a] = x_H[a] * angle.cos() - x_H[b] * angle.sin()
        turned[b] = x_H[a] * angle.sin() + x_H[b] * angle.cos()
    return turned


def _attention(w: dict[str, Tensor], at: str, x_TC: Tensor, small: Small) -> Tensor:
    def rows(letter: str, head: int, place: int) -> Tensor:
        x_H = w[f"{at}.{letter}_proj.weight"][head * small.head : (head + 1) * small.head] @ x_TC[place]
        if letter == "v":
            return x_H
        if small.generation == "3":
            x_H = _norm(x_H, w[f"{at}.{letter}_norm.weight"], small.eps)
        return _turn(x_H, place, small)

    answers = []
    for place in range(len(x_TC)):
        seen = []
        for head in range(small.heads):
            shared = head // (small.heads // small.kv)
            query = rows("q", head, place)
            scores = torch.stack([query @ rows("k", shared, other) for other in range(place + 1)])
            values = torch.stack([rows("v", shared, other) for other in range(place + 1)])
            seen.append((scores / small.head**0.5).softmax(0) @ values)
        answers.append(w[f"{at}.o_proj.weight"] @ torch.cat(seen))
    return torch.stack(answers)


def _feed(w: dict[str, Tensor], at: str, x_C: Tensor, small: Small) -> Tensor:
    def mlp(own: str) -> Tensor:
        inner = F.silu(w[f"{own}.gate_proj.weight"] @ x_C) * (w[f"{own}.up_proj.weight"] @ x_C)
        return w[f"{own}.down_proj.weight"] @ inner

    if not small.experts:
        return mlp(at)
    shares, chosen = (w[f"{at}.gate.weight"] @ x_C).softmax(0).topk(small.chosen)
    # Until generation 3, one expert alone keeps its probability for a share.
    if small.sum_to_one and (small.chosen > 1 or small.generation == "3"):
        shares = shares / shares.sum()
    routed = sum(share * mlp(f"{at}.experts.{expert}") for share, expert in zip(shares, chosen.tolist()))
    return sum((mlp(f"{at}.shared_experts.{expert}") for expert in range(small.shared)), routed)


def first(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the second generation under the first's names, whose heads turn otherwise."""
    words = {
        "model.embed_tokens": "tok_embeddings",
        "lm_head": "output",
        "model.norm": "norm",
        "model.layers": "layers",
        "input_layernorm": "attention_norm",
        "post_attention_layernorm": "ffn_norm",
        "shared_experts.0": "shared_experts",
        "mlp": "feed_forward",
        "gate_proj": "w1",
        "down_proj": "w2",
        "up_proj": "w3",
    } | {f"self_attn.{letter}_proj": f"attention.w{letter}" for letter in "qkvo"}
    renamed = {}
    for name, tensor in state.items():
        for later, early in words.items():
            name = name.replace(later, early)
        renamed[name] = tensor
    return renamed


def adapter(small: Small, rank: int = 4, seed: int = 1) -> dict[str, Tensor]:
    """An adapter as MiniMind saves it: on the square matrices of attention."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for layer, letter in itertools.product(range(small.layers), "qo"):
        at = f"model.layers.{layer}.self_attn.{letter}_proj.lora"
        state[f"{at}.A.weight"] = torch.randn(rank, small.width, generator=generator).half()
        state[f"{at}.B.weight"] = (torch.randn(small.width, rank, generator=generator) / 20).half()
    return state
