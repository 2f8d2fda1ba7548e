"""What a server must know of finished weights before it is started: their profile, and their sizes.

All of it stands in config.json and serve.json; no weight is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from danlu.base.errors import UserError
from danlu.generate import profile as profiles
from danlu.generate.profile import Profile

SUFFIX = "-hf"
"""How the folder of an export is called beside that of the weights."""
# What config.json calls the same thing, family by family.
HEADS = ("num_attention_heads", "n_head", "num_heads")
KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv")
LAYERS = ("num_hidden_layers", "n_layer", "num_layers")
HIDDEN = ("hidden_size", "n_embd", "d_model")
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
WIDTHS = ("intermediate_size", "n_inner", "moe_intermediate_size", "shared_expert_intermediate_size")
NUMBER_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Model:
    """One folder of weights, as a server sees it."""

    folder: Path
    profile: Profile
    heads: int
    kv_heads: int
    head_width: int
    layers: int
    experts: int = 0
    """Routed ones of a layer; 0: none."""
    widths: tuple[tuple[str, int], ...] = ()
    """The MLPs' inner widths, by their names in config.json."""
    latent: int = 0
    """Numbers of a token that latent attention keeps in each layer; 0: it keeps keys and values."""

    @property
    def name(self) -> str:
        """Return how it is called where no name is given."""
        return self.folder.resolve().name

    def cache_bytes(self, tokens: int, dtype: str) -> int:
        """Return the memory in which attention keeps that many tokens."""
        kept = self.latent or 2 * self.kv_heads * self.head_width
        return tokens * self.layers * kept * NUMBER_BYTES.get(dtype, 4)

    def weight_bytes(self) -> int:
        """Return how much the files of weights hold."""
        return sum(file.stat().st_size for file in self.folder.glob("*.safetensors"))


def read(folder: str | Path) -> Model:
    """Return what is known of a folder of weights that a server could read, or say what to do first."""
    folder = Path(folder)
    _check(folder)
    config = _config(folder)
    heads, hidden = _first(config, HEADS, 1), _first(config, HIDDEN, 0)
    latent = int(config.get("kv_lora_rank") or 0)
    experts = _first(config, EXPERTS, 0)
    return Model(
        folder=folder,
        profile=profiles.read(folder),
        heads=heads,
        kv_heads=1
        if config.get("multi_query") and not _first(config, KV_HEADS, 0)
        else _first(config, KV_HEADS, heads),
        head_width=int(config.get("head_dim") or hidden // heads),
        layers=_first(config, LAYERS, 1),
        experts=experts,
        widths=tuple((name, int(config[name])) for name in WIDTHS if config.get(name)),
        latent=latent and latent + int(config.get("qk_rope_head_dim") or 0),
    )


def read_adapter(folder: str | Path) -> int:
    """Return the rank of a LoRA adapter in PEFT's layout."""
    file = Path(folder) / "adapter_config.json"
    if not file.is_file():
        raise UserError(
            f"{folder}: no adapter_config.json", "--adapter NAME=DIR, an adapter in PEFT's layout"
        )
    return int(_json(file).get("r") or 0)


def _check(folder: Path) -> None:
    exported = folder.with_name(f"{folder.name}{SUFFIX}")
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder", "train some weights, or name a folder of an export")
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: holds no finished weights (no config.json)", "name a folder of an export")
    if (folder / "run.json").is_file() and not (folder / profiles.FILE).is_file():
        if (exported / profiles.FILE).is_file():
            raise UserError(
                f"{folder}: vLLM reads exports, this is what training reads", f"danlu vllm {exported}"
            )
        mend = f"python -m convert to-hf {folder} --out {exported}"
        raise UserError(f"{folder}: not exported yet, and vLLM reads exports", mend)


def _config(folder: Path) -> dict[str, Any]:
    config = _json(folder / "config.json")
    inner = config.get("text_config")
    return config | inner if isinstance(inner, dict) else config


def _json(file: Path) -> dict[str, Any]:
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read: {error}", "mend it, or export the weights anew") from None
    if not isinstance(told, dict):
        raise UserError(f"{file}: holds no object", "mend it, or export the weights anew")
    return told


def _first(config: Mapping[str, Any], names: tuple[str, ...], default: int) -> int:
    """Return the first of these keys that is there and says a number."""
    return next((int(config[name]) for name in names if config.get(name)), default)
