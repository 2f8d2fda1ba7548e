"""Low-rank adapters in PEFT's format: which tensors one changes, and by which factors.

    adapter/adapter_config.json         rank, scale, which modules
            adapter_model.safetensors   base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight ...

    changed = W + scale * B A           scale = lora_alpha / r, over the root of r where use_rslora

Names are those of the architecture the adapter was made on, so it belongs to that one alone. What a
plain product cannot express is refused by name.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from torch import Tensor

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
        self.config = _read(folder / CONFIG)
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

    def changes(self, name: str) -> bool:
        """Return whether a tensor is another one with the adapter."""
        return name in self.factors or name in self.replaced

    def pair(self, name: str) -> tuple[Tensor, Tensor]:
        """Return A and B in float32, of the rank that the configuration says."""
        pair = self.factors[name]
        a, b = (self.disk.get(pair[which]).float() for which in "AB")
        if not a.shape[0] == b.shape[1] == self.rank(name):
            shapes = f"A is {tuple(a.shape)}, B {tuple(b.shape)}, the rank {self.rank(name)}"
            raise UserError(f"{self.folder}: {name}: {shapes}", "the adapter_config.json of these tensors")
        return a, b

    def turned(self, name: str) -> bool:
        """Return whether the product is the change's transpose."""
        return bool(self.config.get("fan_in_fan_out")) or "lora_embedding_" in self.factors[name]["A"]

    def rank(self, name: str) -> int:
        """Return how many rows A has."""
        module = name.removesuffix(".weight")
        return int(_patterned(self.config.get("rank_pattern"), module, self.config["r"]))

    def scale(self, name: str) -> float:
        """Return what the product is multiplied by."""
        module, rank = name.removesuffix(".weight"), self.rank(name)
        alpha = float(_patterned(self.config.get("alpha_pattern"), module, self.config["lora_alpha"]))
        return alpha / rank**0.5 if self.config.get("use_rslora") else alpha / rank


def _patterned(patterns: dict[str, Any] | None, module: str, usual: Any) -> Any:
    """Return the value of the first pattern that a module's name ends with, as PEFT finds it."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return usual


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{file}: cannot be read: {error}", "a folder that PEFT wrote") from None
    return found if isinstance(found, dict) else {}
