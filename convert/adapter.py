"""Low-rank adapters in PEFT's format: what they add to which tensor.

    adapter/adapter_config.json         rank, scale, which modules
            adapter_model.safetensors   base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight ...

    merged = W + scale * B A            scale = lora_alpha / r, over the root of r where use_rslora

Names are those of the architecture the adapter was made on, so it merges into that one alone. What a
plain product cannot express is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convert.reading import read_json
from danlu.base.errors import UserError
from danlu.model.disk import Disk

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<kind>embedding_)?(?P<which>[AB])(\.default)?(\.weight)?")
NOT_PLAIN = {
    "use_dora": False,
    "bias": "none",
    "lora_bias": False,
    "target_parameters": None,
    "layer_replication": None,
    "alora_invocation_tokens": None,
    "trainable_token_indices": None,
}
"""What each key must be for B A to be all there is."""


OF_ANOTHER_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""How factors begin where PEFT takes them off the base: its weights are not those of the model any more."""


def is_adapter(folder: Path) -> bool:
    """Return whether a folder holds an adapter in PEFT's format."""
    return (folder / CONFIG).is_file()


class Adapter:
    """One adapter, its tensors accounted for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not is_adapter(folder):
            raise UserError(f"{folder}: holds no adapter ({CONFIG})", "a folder that PEFT wrote")
        self.config = read_json(folder / CONFIG)
        self._check()
        self.disk = Disk(folder / WEIGHTS if (folder / WEIGHTS).is_file() else folder / "adapter_model.bin")
        self.factors: dict[str, dict[str, str]] = {}
        """By the weight they change: A's and B's names in the file."""
        self.replaced: dict[str, str] = {}
        """By the weight they stand for: names of tensors trained whole."""
        for name in self.disk:
            self._place(name)
        for weight in self.factors.keys() & self.replaced.keys():
            raise UserError(f"{folder}: {weight}: is changed and replaced at once", "one of the two")
        for weight, pair in self.factors.items():
            if pair.keys() != {"A", "B"}:
                raise UserError(
                    f"{folder}: {weight}: has no {'B' if 'A' in pair else 'A'}", "a whole adapter"
                )

    def _check(self) -> None:
        for key in ("r", "lora_alpha"):
            value = self.config.get(key)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
                raise UserError(f"{self.folder}: {CONFIG}: {key}: is {value}", "a number above 0")
        if self.config.get("peft_type") != "LORA":
            raise UserError(f"{self.folder}: peft_type: is {self.config.get('peft_type')}", "LORA")
        for key, plain in NOT_PLAIN.items():
            found = self.config.get(key, plain)
            if found != plain and found:
                raise UserError(
                    f"{self.folder}: {key}: is {found}, which is not known here", f"{key}: {plain}"
                )

        begun = str(self.config.get("init_lora_weights")).lower()
        if begun.startswith(OF_ANOTHER_BASE):
            raise UserError(
                f"{self.folder}: init_lora_weights: is {begun}, which changes the base as well",
                "save it once more with PEFT's path_initial_model_for_weight_conversion",
            )

    def _place(self, name: str) -> None:
        if not name.startswith(PREFIX):
            raise UserError(f"{self.folder}: {name}: is no tensor of a PEFT adapter", f"{PREFIX}...")
        inner = name.removeprefix(PREFIX)
        if found := FACTOR.fullmatch(inner):
            pair = self.factors.setdefault(f"{found['module']}.weight", {})
            self._once(pair, found["which"], name)
        elif ".lora_" in inner or "base_layer" in inner:
            raise UserError(f"{self.folder}: {name}: is not known here", "an adapter of A and B alone")
        else:
            self._once(self.replaced, inner.replace(".modules_to_save", "").replace(".default", ""), name)

    def _once(self, known: dict[str, str], key: str, name: str) -> None:
        if key in known:
            raise UserError(f"{self.folder}: {name}: says what {known[key]} says as well", "one of the two")
        known[key] = name

    def check_fits(self, names: Iterable[str], architecture: str) -> None:
        """Refuse an adapter that changes a tensor the model does not have."""
        unknown = sorted((self.factors.keys() | self.replaced.keys()) - set(names))
        if unknown:
            raise UserError(
                f"{self.folder}: {unknown[0]}: {architecture} has no such tensor",
                "the base model that the adapter was made on",
            )

    def check_ties(self, tied: bool, embedding: str, head: str) -> None:
        """Refuse to change one of two tensors that are one: the model with the adapter has two."""
        for name in (embedding, head):
            if tied and self.changes(name):
                raise UserError(
                    f"{self.folder}: {name}: is changed, and the base ties embedding and head",
                    "an adapter on the layers alone; or a base whose head is its own",
                )

    def changes(self, name: str) -> bool:
        """Return whether a tensor is another one with the adapter."""
        return name in self.factors or name in self.replaced

    def merged(self, name: str, weight: Tensor) -> Tensor:
        """Return a tensor with what the adapter adds, in float32."""
        if name in self.replaced:
            return self._fitting(name, self.disk.get(self.replaced[name]).float(), weight)
        pair = self.factors[name]
        a, b = (self.disk.get(pair[which]).float() for which in "AB")
        if not a.shape[0] == b.shape[1] == self.rank(name):
            shapes = f"A is {tuple(a.shape)}, B {tuple(b.shape)}, the rank {self.rank(name)}"
            raise UserError(f"{self.folder}: {name}: {shapes}", "the adapter_config.json of these tensors")
        added = (b @ a) * self.scale(name)
        if self.config.get("fan_in_fan_out") or "lora_embedding_" in pair["A"]:
            added = added.T
        return weight.float() + self._fitting(name, added, weight)

    def _fitting(self, name: str, found: Tensor, weight: Tensor) -> Tensor:
        if found.shape != weight.shape:
            raise UserError(
                f"{self.folder}: {name}: is {tuple(found.shape)}, the model's is {tuple(weight.shape)}",
                "the base model that the adapter was made on",
            )
        return found

    def rank(self, name: str) -> int:
        """Return how many rows A has."""
        module = name.removesuffix(".weight")
        return int(_patterned(self.config.get("rank_pattern"), module, self.config["r"]))

    def scale(self, name: str) -> float:
        """Return what the product is multiplied by."""
        module, rank = name.removesuffix(".weight"), self.rank(name)
        alpha = float(_patterned(self.config.get("alpha_pattern"), module, self.config["lora_alpha"]))
        return alpha / rank**0.5 if self.config.get("use_rslora") else alpha / rank

    def apply(self, name: str, pieces: Iterator[Tensor]) -> Iterator[Tensor]:
        """Yield a tensor's pieces with what the adapter adds."""
        if self.changes(name):
            yield self.merged(name, torch.cat(list(pieces)))
        else:
            yield from pieces


def _patterned(patterns: dict[str, Any] | None, module: str, usual: Any) -> Any:
    """Return the value of the first pattern that a module's name ends with, as PEFT finds it."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return usual
