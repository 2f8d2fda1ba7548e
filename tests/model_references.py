"""Baichuan, InternLM and the first DeepSeek, from their published formulas and nothing of anybody's classes.

Plain tensors: `weights` are named as the family's files name them, and how they lie there (W_pack, wqkv) is
taken apart where they are used. `files` says which there are.

    x = x + o(attend(norm(x)))      x = x + mlp(norm(x))      logits = norm(x) · head

Letters: B rows, T tokens, C width, H query heads, K key heads, D head width, V words, P pairs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from model_oracle import scatter

Weights = dict[str, Tensor]


def publish(folder: Path, described: dict[str, Any], std: float) -> Weights:
    """Write random weights of a family as it publishes them; return them as they are used."""
    made = {
        name: torch.ones(shape) if "norm" in name else torch.zeros(shape)
        for name, shape in files(described).items()
    }
    scatter(made, std)
    save_file(made, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(described))
    return {name: tensor.requires_grad_() for name, tensor in prepared(made).items()}


def logits(weights: Weights, described: dict[str, Any], tokens_BT: Tensor) -> Tensor:
    """Return every word's score, by the family that config.json names."""
    return FAMILIES[described["model_type"]](weights, described, tokens_BT)


def prepared(weights: Weights) -> Weights:
    """Return weights as they are used: the second Baichuan, known by its 125696 words, divides its head.

    Each row is divided by its length, once, before the first text is read.
    """
    head_VC = weights.get("lm_head.weight")
    if head_VC is None or len(head_VC) != 125696:
        return weights
    return weights | {"lm_head.weight": head_VC / head_VC.norm(dim=1, keepdim=True)}


def layers(weights: Weights, described: dict[str, Any]) -> Iterator[Weights]:
    """Yield each layer's weights under what follows its number."""
    for layer in range(described["num_hidden_layers"]):
        own = f"model.layers.{layer}."
        yield {name.removeprefix(own): tensor for name, tensor in weights.items() if name.startswith(own)}


def norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm (Zhang and Sennrich 2019, equation 4)."""
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight


def turned(x_BTHD: Tensor, theta: float) -> Tensor:
    """Rotary positions (Su et al. 2021, equation 34): dimensions i and i + D/2 are one complex number."""
    T, D = x_BTHD.shape[1], x_BTHD.shape[3]
    frequency_P = theta ** (-torch.arange(0, D, 2, dtype=torch.float32) / D)
    angle_TP = torch.arange(T, dtype=torch.float32)[:, None] * frequency_P
    real, imaginary = x_BTHD.split(D // 2, -1)
    number = torch.complex(real, imaginary) * torch.polar(torch.ones(()), angle_TP)[:, None]
    return torch.cat((number.real, number.imag), -1)


def slopes(heads: int) -> list[float]:
    """ALiBi (Press et al. 2022, section 3); between powers of two, every other one of the next power."""
    if math.log2(heads).is_integer():
        return [2 ** (-8 * (head + 1) / heads) for head in range(heads)]
    below = 2 ** int(math.log2(heads))
    return slopes(below) + slopes(2 * below)[0::2][: heads - below]


def attend(q_BTHD: Tensor, k_BTKD: Tensor, v_BTKD: Tensor, fall_H: list[float] | None = None) -> Tensor:
    """Causal attention, each key head shared by a run of query heads."""
    T, H, D = q_BTHD.shape[1:]
    groups = H // k_BTKD.shape[2]
    k_BTHD, v_BTHD = (x.repeat_interleave(groups, 2) for x in (k_BTKD, v_BTKD))
    scores_BHTT = torch.einsum("bthd,bshd->bhts", q_BTHD, k_BTHD) / math.sqrt(D)
    if fall_H is not None:
        distance_TT = torch.arange(T)[:, None] - torch.arange(T)
        scores_BHTT = scores_BHTT - torch.tensor(fall_H)[:, None, None] * distance_TT
    hidden_TT = torch.full((T, T), -math.inf).triu(1)
    return torch.einsum("bhts,bshd->bthd", (scores_BHTT + hidden_TT).softmax(-1), v_BTHD).flatten(2)


def head(weights: Weights) -> Tensor:
    return weights.get("lm_head.weight", weights["model.embed_tokens.weight"])


def gated(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """SwiGLU (Shazeer 2020, equation 6)."""
    return (F.silu(x @ gate.T) * (x @ up.T)) @ down.T


def theta(described: dict[str, Any], tokens_BT: Tensor) -> float:
    """The rotary base, larger for texts beyond the trained length where positions are "dynamic"."""
    rotary, scaling = described.get("rotary") or {}, described.get("rope_scaling") or {}
    base = described.get("rope_theta") or rotary.get("base", 10000.0)
    if "dynamic" not in (rotary.get("type"), scaling.get("type")):
        return base
    factor = scaling.get("factor") or rotary.get("scaling_factor", 1.0)
    D = described["hidden_size"] // described["num_attention_heads"]
    longer = max(tokens_BT.shape[1] / described["max_position_embeddings"], 1.0)
    return base * (factor * longer - (factor - 1)) ** (D / (D - 2))


def baichuan(weights: Weights, described: dict[str, Any], tokens_BT: Tensor) -> Tensor:
    """One matrix for queries, keys and values; slopes in the larger ones, whose config has no positions."""
    H, eps = described["num_attention_heads"], described["rms_norm_eps"]
    turns = "max_position_embeddings" in described
    x_BTC = weights["model.embed_tokens.weight"][tokens_BT]
    for own in layers(weights, described):
        read_BTC = norm(x_BTC, own["input_layernorm.weight"], eps)
        q, k, v = (read_BTC @ own["self_attn.W_pack.weight"].T).unflatten(-1, (3, H, -1)).unbind(2)
        if turns:
            q, k = turned(q, 1e4), turned(k, 1e4)
        x_BTC = x_BTC + attend(q, k, v, None if turns else slopes(H)) @ own["self_attn.o_proj.weight"].T
        read_BTC = norm(x_BTC, own["post_attention_layernorm.weight"], eps)
        x_BTC = x_BTC + gated(
            read_BTC, *(own[f"mlp.{which}_proj.weight"] for which in ("gate", "up", "down"))
        )
    return norm(x_BTC, weights["model.norm.weight"], eps) @ weights["lm_head.weight"].T


def internlm(weights: Weights, described: dict[str, Any], tokens_BT: Tensor) -> Tensor:
    """Biases on queries, keys, values and attention's output, or on none."""
    H, eps = described["num_attention_heads"], described["rms_norm_eps"]
    base = theta(described, tokens_BT)
    x_BTC = weights["model.embed_tokens.weight"][tokens_BT]
    for own in layers(weights, described):

        def project(x: Tensor, letter: str, own: Weights = own) -> Tensor:
            name = f"self_attn.{letter}_proj"
            return x @ own[f"{name}.weight"].T + own.get(f"{name}.bias", torch.zeros(()))

        read_BTC = norm(x_BTC, own["input_layernorm.weight"], eps)
        q, k, v = (project(read_BTC, letter).unflatten(-1, (H, -1)) for letter in "qkv")
        x_BTC = x_BTC + project(attend(turned(q, base), turned(k, base), v), "o")
        read_BTC = norm(x_BTC, own["post_attention_layernorm.weight"], eps)
        x_BTC = x_BTC + gated(
            read_BTC, *(own[f"mlp.{which}_proj.weight"] for which in ("gate", "up", "down"))
        )
    return norm(x_BTC, weights["model.norm.weight"], eps) @ head(weights).T


def internlm2(weights: Weights, described: dict[str, Any], tokens_BT: Tensor) -> Tensor:
    """One matrix, group by group: the queries of a key head, the key, the value."""
    H, K, eps = (described[key] for key in ("num_attention_heads", "num_key_value_heads", "rms_norm_eps"))
    base = theta(described, tokens_BT)
    x_BTC = weights["model.tok_embeddings.weight"][tokens_BT]
    for own in layers(weights, described):
        none = torch.zeros(())
        packed = norm(x_BTC, own["attention_norm.weight"], eps) @ own["attention.wqkv.weight"].T
        packed = (packed + own.get("attention.wqkv.bias", none)).unflatten(-1, (K, H // K + 2, -1))
        q, k, v = packed[..., : H // K, :].flatten(2, 3), packed[..., -2, :], packed[..., -1, :]
        out_BTC = attend(turned(q, base), turned(k, base), v) @ own["attention.wo.weight"].T
        x_BTC = x_BTC + out_BTC + own.get("attention.wo.bias", none)
        read_BTC = norm(x_BTC, own["ffn_norm.weight"], eps)
        x_BTC = x_BTC + gated(read_BTC, *(own[f"feed_forward.w{which}.weight"] for which in (1, 3, 2)))
    return norm(x_BTC, weights["model.norm.weight"], eps) @ weights["output.weight"].T


def deepseek(weights: Weights, described: dict[str, Any], tokens_BT: Tensor) -> Tensor:
    """DeepSeekMoE (Dai et al. 2024, equations 9 to 11): shared experts beside the routed ones."""
    H, eps = described["num_attention_heads"], described["rms_norm_eps"]
    K, base = described["num_key_value_heads"], described.get("rope_theta", 1e4)
    x_BTC = weights["model.embed_tokens.weight"][tokens_BT]
    for number, own in enumerate(layers(weights, described)):
        read_BTC = norm(x_BTC, own["input_layernorm.weight"], eps)
        q, k, v = (
            (read_BTC @ own[f"self_attn.{letter}_proj.weight"].T).unflatten(-1, (heads, -1))
            for letter, heads in zip("qkv", (H, K, K))
        )
        x_BTC = x_BTC + attend(turned(q, base), turned(k, base), v) @ own["self_attn.o_proj.weight"].T
        read_BTC = norm(x_BTC, own["post_attention_layernorm.weight"], eps)
        is_dense = number < described["first_k_dense_replace"]
        x_BTC = x_BTC + (
            expert(read_BTC, own, "mlp") if is_dense else deepseek_experts(read_BTC, own, described)
        )
    return norm(x_BTC, weights["model.norm.weight"], eps) @ weights["lm_head.weight"].T


def expert(x_BTC: Tensor, own: Weights, name: str) -> Tensor:
    return gated(x_BTC, *(own[f"{name}.{which}_proj.weight"] for which in ("gate", "up", "down")))


def deepseek_experts(x_BTC: Tensor, own: Weights, described: dict[str, Any]) -> Tensor:
    """Every expert answers every token; those not chosen have the share zero."""
    E, k = described["n_routed_experts"], described["num_experts_per_tok"]
    scores_BTE = (x_BTC @ own["mlp.gate.weight"].T).softmax(-1)
    least_BT1 = scores_BTE.topk(k)[0][..., -1:]
    shares_BTE = torch.where(scores_BTE >= least_BT1, scores_BTE, 0.0)
    if described["norm_topk_prob"] and k > 1:
        shares_BTE = shares_BTE / shares_BTE.sum(-1, keepdim=True)
    y_BTC = expert(x_BTC, own, "mlp.shared_experts")
    for number in range(E):
        y_BTC = y_BTC + shares_BTE[..., number, None] * expert(x_BTC, own, f"mlp.experts.{number}")
    return y_BTC


def files(described: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of a family's tensors on disk."""
    kind, V, C = (described[key] for key in ("model_type", "vocab_size", "hidden_size"))
    embedding, last = ("tok_embeddings", "output") if kind == "internlm2" else ("embed_tokens", "lm_head")
    found: dict[str, tuple[int, ...]] = {f"model.{embedding}.weight": (V, C), "model.norm.weight": (C,)}
    if not described.get("tie_word_embeddings"):
        found[f"{last}.weight"] = (V, C)
    for layer in range(described["num_hidden_layers"]):
        own = _attention(described) | _mlp(described, layer)
        found |= {f"model.layers.{layer}.{name}": shape for name, shape in own.items()}
    return found


def _attention(described: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    kind, C, H = (described[key] for key in ("model_type", "hidden_size", "num_attention_heads"))
    keys = described.get("num_key_value_heads", H) * C // H
    if kind == "baichuan":
        found = {"self_attn.W_pack": (3 * C, C), "self_attn.o_proj": (C, C)}
    elif kind == "internlm2":
        found = {"attention.wqkv": (C + 2 * keys, C), "attention.wo": (C, C)}
    else:
        found = {f"self_attn.{letter}_proj": (C if letter in "qo" else keys, C) for letter in "qkvo"}
    weights: dict[str, tuple[int, ...]] = {f"{name}.weight": shape for name, shape in found.items()}
    if described.get("bias"):
        weights |= {f"{name}.bias": shape[:1] for name, shape in found.items()}
    names = (
        ("attention_norm", "ffn_norm")
        if kind == "internlm2"
        else ("input_layernorm", "post_attention_layernorm")
    )
    return weights | {f"{name}.weight": (C,) for name in names}


def _mlp(described: dict[str, Any], layer: int) -> dict[str, tuple[int, ...]]:
    C, width = described["hidden_size"], described["intermediate_size"]
    if described["model_type"] == "internlm2":
        return _three("feed_forward.w{}.weight", (1, 3, 2), C, width)
    names = ("gate", "up", "down")
    if layer < described.get("first_k_dense_replace", 99):
        return _three("mlp.{}_proj.weight", names, C, width)
    E, width = described["n_routed_experts"], described["moe_intermediate_size"]
    found = _three("mlp.shared_experts.{}_proj.weight", names, C, width * described["n_shared_experts"])
    for number in range(E):
        found |= _three(f"mlp.experts.{number}.{{}}_proj.weight", names, C, width)
    return found | {"mlp.gate.weight": (E, C)}


def _three(name: str, which: tuple[Any, ...], C: int, width: int) -> dict[str, tuple[int, ...]]:
    gate, up, down = (name.format(each) for each in which)
    return {gate: (width, C), up: (width, C), down: (C, width)}


FAMILIES = {"baichuan": baichuan, "internlm": internlm, "internlm2": internlm2, "deepseek": deepseek}
