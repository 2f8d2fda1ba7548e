"""MiniMind's adapters, and PEFT's.

    theirs    NAME.lora.A.weight [rank, in]    NAME.lora.B.weight [out, rank]    y = W x + B A x
    PEFT's    base_model.model.NAME.lora_A.weight    ...lora_B.weight            lora_alpha = r: no scale

MiniMind puts one on every square matrix: queries and outputs, and keys and values where each query head
has its own. In a checkpoint of its LoRA trainer the adapter lies among the weights of the model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from convert import minimind_file
from danlu.base import paths
from danlu.base.errors import UserError

PAIR = re.compile(r"(.+)\.lora\.([AB])\.weight")
MODULE = re.compile(r"model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)")
WHOLE = "a file that MiniMind's save_lora wrote, whole"


@dataclass(frozen=True)
class Lora:
    """An adapter: for each module (A, B), whose product B A is added to its weight."""

    rank: int
    pairs: dict[str, tuple[Tensor, Tensor]]
    """By our name of the module, model.layers.0.self_attn.q_proj for one."""


def read_lora(path: Path) -> Lora:
    """Return the adapter in a file, which may hold a model as well."""
    _, lora = split(minimind_file.tensors(path), str(path))
    if lora is None:
        raise UserError(f"{path}: there is no adapter in it", "a file of MiniMind's LoRA trainer")
    return lora


def holds_model(path: Path) -> bool:
    """Return whether a file holds a model, and not an adapter alone."""
    return bool(split(minimind_file.tensors(path), str(path))[0])


def split(tensors: Mapping[str, Tensor], source: str) -> tuple[dict[str, Tensor], Lora | None]:
    """Return the tensors of the model, and the adapter among them if there is one."""
    halves: dict[str, dict[str, Tensor]] = {}
    model = {}
    for name, tensor in tensors.items():
        if match := PAIR.fullmatch(name):
            halves.setdefault(match[1], {})[match[2]] = tensor
        else:
            model[name] = tensor
    if not halves:
        return model, None
    pairs = {module: _pair(module, half, source) for module, half in halves.items()}
    ranks = {len(a) for a, _ in pairs.values()}
    if len(ranks) > 1:
        raise UserError(f"{source}: has adapters of rank {sorted(ranks)}", "one rank, as MiniMind trains")
    return model, Lora(ranks.pop(), pairs)


def _pair(module: str, half: Mapping[str, Tensor], source: str) -> tuple[Tensor, Tensor]:
    for letter in "AB":
        if letter not in half:
            raise UserError(f"{source}: {module}.lora.{letter}.weight: is missing", WHOLE)
    a, b = half["A"], half["B"]
    if not MODULE.fullmatch(module):
        raise UserError(
            f"{source}: {module}: an adapter has no place there",
            "merge it with MiniMind's own merge_lora, and convert what that wrote",
        )
    if a.dim() != 2 or b.dim() != 2 or len(a) != b.shape[1]:
        raise UserError(f"{source}: {module}: A is {tuple(a.shape)} and B is {tuple(b.shape)}", WHOLE)
    return a, b


class _Merged(Mapping[str, Tensor]):
    """Weights with an adapter added, each when it is asked for."""

    def __init__(self, state: Mapping[str, Tensor], lora: Lora) -> None:
        self.state = state
        self.pairs = {f"{module}.weight": pair for module, pair in lora.pairs.items()}

    def __getitem__(self, name: str) -> Tensor:
        weight = self.state[name]
        if name not in self.pairs:
            return weight
        a, b = (matrix.float() for matrix in self.pairs[name])
        return (weight.float() + b @ a).to(weight.dtype)  # rounded once

    def __iter__(self) -> Iterator[str]:
        return iter(self.state)

    def __len__(self) -> int:
        return len(self.state)


def merge(state: Mapping[str, Tensor], lora: Lora) -> Mapping[str, Tensor]:
    """Return weights under our names with the adapter added to them: W + B A."""
    for module, (a, b) in lora.pairs.items():
        wanted = (len(b), a.shape[1])
        found = tuple(state[f"{module}.weight"].shape) if f"{module}.weight" in state else None
        if found != wanted:
            said = f"is {found} in the model" if found else "is not in the model"
            raise UserError(f"{module}: {said}, the adapter is for {wanted}", "the model it was trained on")
    return _Merged(state, lora)


def write_lora(lora: Lora, folder: Path, base: str = "") -> None:
    """Write an adapter as PEFT's; `base` is the model it belongs to, a name or a folder."""
    tensors = {}
    for module, pair in lora.pairs.items():
        for letter, matrix in zip("AB", pair):
            tensors[f"base_model.model.{module}.lora_{letter}.weight"] = matrix.clone(
                memory_format=torch.contiguous_format
            )
    with paths.whole_folder(folder) as aside:
        save_file(tensors, aside / "adapter_model.safetensors", metadata={"format": "pt"})
        described = json.dumps(peft_config(lora, base), indent=2, ensure_ascii=False)
        (aside / "adapter_config.json").write_text(described + "\n", encoding="utf-8")


def peft_config(lora: Lora, base: str = "") -> dict[str, Any]:
    """Return the content of PEFT's adapter_config.json."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": lora.rank,
        "lora_dropout": 0.0,
        "target_modules": _targets(lora),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "layers_pattern": None,
        "layers_to_transform": None,
        "modules_to_save": None,
        "rank_pattern": {},
        "alpha_pattern": {},
        "use_dora": False,
        "use_rslora": False,
    }


def _targets(lora: Lora) -> list[str]:
    """Return the modules' last names where all layers have the same, else their whole names."""
    layers: dict[str, set[str]] = {}
    for module in lora.pairs:
        layers.setdefault(module.split(".")[2], set()).add(module.rpartition(".")[2])
    kinds = next(iter(layers.values()))
    alike = all(found == kinds for found in layers.values())
    whole = alike and set(layers) == {str(layer) for layer in range(len(layers))}
    return sorted(kinds) if whole else sorted(lora.pairs)
