"""Which model: presets, and where a model named by the user is found.

    resolve("26m")                              a preset of configs/model/
    resolve("my/model.yaml")                    a file with the same keys
    resolve("out/full_sft_512")                 finished weights or a download, by its config.json
    resolve("out/full_sft_512/config.json")     the same
    resolve("owner/name")                       a model of a hub (danlu/hub), by its config.json
    resolve({"preset": "26m", "hidden_size": 640})

A combination that no published architecture has is refused by `resolve`, before any work: what is
trained here must be loadable elsewhere, unless `may_stay` gives that up. `weights_of` tells whether a
name stands for weights too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from danlu.base import config, paths
from danlu.base.errors import UserError, nearest
from danlu.base.log import say_once
from danlu.hub import models
from danlu.hub.names import Name
from danlu.model.families import from_hf, laid_out_as, own
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
    "weights_of",
]

WEIGHTS = ("*.safetensors", "*.bin", "*.index.json")
"""What lies in a folder of weights; an index too, or an unfinished download would pass for a shape."""


def presets() -> list[str]:
    """Return the names of the shipped models."""
    return sorted(path.stem for path in (paths.configs() / "model").glob("*.yaml"))


def preset(name: str) -> dict[str, Any]:
    """Return the keys of a shipped model."""
    path = paths.configs() / "model" / f"{name}.yaml"
    if not path.exists():
        raise UserError(
            f"model: '{name}': there is no preset '{name}', and no file or folder of that name",
            f"{nearest(name, presets())}; or a .yaml, a folder with a config.json, or owner/name on a hub",
        )
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
    if name := models.named(model):
        return _of_hub(model, name), str(name)
    if path.suffix == ".json":
        return from_hf(_described(path), str(path)), str(path)
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


def _of_hub(model: str, name: Name) -> ModelConfig:
    """Return the configuration of a hub's model, or say where it was looked for."""
    try:
        folder = models.described(name)
    except UserError as error:
        if model.startswith(name.hub):
            raise
        hint = f"{error.hint}; presets: {', '.join(presets())}"
        raise UserError(f"'{model}': no such folder here, and {error.problem}", hint) from None
    return from_hf(_described(folder / "config.json"), str(name)) if name.inside else read_hf(folder)


def weights_of(model: str | dict[str, Any]) -> str:
    """Return the folder or the hub's name whose weights a model means as well, "" for a shape alone."""
    if isinstance(model, dict):
        start = model.get("preset")
        return weights_of(start) if isinstance(start, str) else ""
    path = Path(model)
    if model and path.is_dir() and (path / "config.json").exists():
        if any(next(path.glob(pattern), None) for pattern in WEIGHTS):
            return model
        say_once(f"model: {model}: holds no .safetensors or .bin: its shape alone is taken")
        return ""
    name = models.named(model) if model else None
    return "" if name is None or name.inside else model


def read_hf(folder: Path) -> ModelConfig:
    """Return the configuration of finished weights, or of a downloaded model, from its config.json."""
    described = _described(folder / "config.json")
    if how := quantised(described):
        raise UserError(
            f"{folder}: its weights are quantised ({how}), which are not read here",
            "the release in bfloat16, or what turns them back beside it; config.json alone gives the shape",
        )
    return from_hf(described, str(folder / "config.json"))


def quantised(described: dict[str, Any]) -> str:
    """Return how the weights beside a config.json are quantised, "" if they are not."""
    section = described.get("quantization_config") or described.get("compression_config")
    if section:
        return str(section.get("quant_method", "unknown") if isinstance(section, dict) else section)
    number = str(described.get("dtype") or described.get("torch_dtype")).removeprefix("torch.")
    return number if number.startswith(("float8", "float4", "int", "uint")) else ""


def read_type(folder: Path) -> str:
    """Return the family that the weights in a folder are laid out as."""
    return str(_described(folder / "config.json").get("model_type"))


def _described(path: Path) -> dict[str, Any]:
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(described, dict):
            raise ValueError(f"holds a {type(described).__name__}, not keys and values")
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read: {error}", "a folder of finished weights is wanted"
        ) from None
    return described


def architecture(cfg: ModelConfig) -> str:
    """Return the class a model leaves as, or that of our own layout if it may stay, or say why neither."""
    return laid_out_as(cfg).architecture


def describe(cfg: ModelConfig) -> str:
    """Return one line for a person: architecture, shape and size."""
    total, used = count(cfg), active(cfg)
    size = f"{total / 1e6:,.1f} M parameters"
    if cfg.moe:
        size += f", {used / 1e6:,.1f} M active"
    family = laid_out_as(cfg)
    kind = "ours alone, never exported" if family is own.FAMILY else family.architecture
    return f"{kind}, {cfg.hidden_size} wide, {cfg.num_hidden_layers} layers, {size}"
