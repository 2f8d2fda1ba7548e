"""Which model: presets, and where a model named by the user is found.

    resolve("26m")                              a preset of configs/model/
    resolve("my/model.yaml")                    a file with the same keys
    resolve("out/full_sft_512")                 finished weights, by their config.json
    resolve({"preset": "26m", "hidden_size": 640})

A combination that no published architecture has is refused by `resolve`, before any work: what is
trained here must be loadable elsewhere.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from danlu.base import config, paths
from danlu.base.errors import UserError, nearest
from danlu.model.families import choose, from_hf
from danlu.model.shape import ModelConfig, MoE, RopeScaling
from danlu.model.size import active, count, flops_per_token

__all__ = [
    "MoE",
    "ModelConfig",
    "RopeScaling",
    "active",
    "architecture",
    "count",
    "describe",
    "flops_per_token",
    "preset",
    "presets",
    "read_hf",
    "resolve",
]


def presets() -> list[str]:
    """Return the names of the shipped models."""
    return sorted(path.stem for path in (paths.configs() / "model").glob("*.yaml"))


def preset(name: str) -> dict[str, Any]:
    """Return the keys of a shipped model."""
    path = paths.configs() / "model" / f"{name}.yaml"
    if not path.exists():
        raise UserError(f"model: there is no preset '{name}'", nearest(name, presets()))
    return config.read(path)


def resolve(model: str | dict[str, Any], servable: bool = True) -> ModelConfig:
    """Return the configuration of a model the user named or described.

    `servable` refuses, with the reason, what no published architecture can represent.
    """
    data, source = _find(model)
    cfg = data if isinstance(data, ModelConfig) else config.check(ModelConfig, data, source)
    if servable:
        architecture(cfg)
    return cfg


def _find(model: str | dict[str, Any]) -> tuple[dict[str, Any] | ModelConfig, str]:
    if isinstance(model, dict):
        if "preset" not in model:
            return model, "model"
        start = resolve(str(model["preset"]), servable=False).model_dump(mode="json", exclude_none=True)
        return _merge(start, {key: value for key, value in model.items() if key != "preset"}), "model"
    path = Path(model)
    if (path / "config.json").exists():
        return read_hf(path), str(path)
    if path.suffix in (".yaml", ".yml"):
        return config.read(path), str(path)
    if path.is_dir():
        raise UserError(
            f"model: {path}: there is no config.json in it", "a folder of finished weights, or a preset"
        )
    return preset(model), f"preset {model}"


def _merge(start: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `start` with `changes` laid over it, section by section."""
    if {"hidden_size", "num_attention_heads"} & changes.keys() and "head_dim" not in changes:
        heads = changes.get("num_attention_heads", start["num_attention_heads"])
        width = changes.get("hidden_size", start["hidden_size"])
        if start["head_dim"] * start["num_attention_heads"] == start["hidden_size"] and width % heads == 0:
            start = start | {"head_dim": width // heads}
    merged = dict(start)
    for key, value in changes.items():
        sections = isinstance(start.get(key), dict) and isinstance(value, dict)
        merged[key] = start[key] | value if sections else value
    return merged


def read_hf(folder: Path) -> ModelConfig:
    """Return the configuration of finished weights, or of a downloaded model, from its config.json."""
    return from_hf(_described(folder), str(folder / "config.json"))


def read_type(folder: Path) -> str:
    """Return the family that the weights in a folder are laid out as."""
    return str(_described(folder).get("model_type"))


def _described(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        described: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read: {error}", "a folder of finished weights is wanted"
        ) from None
    return described


def architecture(cfg: ModelConfig) -> str:
    """Return the Hugging Face class a model leaves as, or say why there is none."""
    return choose(cfg).architecture


def describe(cfg: ModelConfig) -> str:
    """Return one line for a person: architecture, shape and size."""
    total, used = count(cfg), active(cfg)
    size = f"{total / 1e6:,.1f} M parameters"
    if cfg.moe:
        size += f", {used / 1e6:,.1f} M active"
    return f"{architecture(cfg)}, {cfg.hidden_size} wide, {cfg.num_hidden_layers} layers, {size}"
