"""`python -m convert inspect`: what a folder or a file is, and whether it is whole."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from convert import manifest, minimind_lora
from convert.adapter import Adapter, is_adapter
from convert.opening import open_source
from convert.recipe import architecture
from convert.source import Source
from danlu.base.errors import UserError
from danlu.generate.load import suggestion
from danlu.model.disk import Disk
from danlu.model.size import active, count

FEW = 12  # tensors that are shown unless all are asked for


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--all", "every", is_flag=True, help="Every tensor, not the first dozen.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
def command(path: Path, every: bool, as_json: bool) -> None:
    """Tell what PATH is: kind, architecture, shapes, number formats, totals, and what is wrong with it.

    PATH is a folder of weights, a run, a checkpoint, an adapter, or a .safetensors, .bin or .pth file. Ends
    with 1 where something is wrong. Nothing is run that a file may hold, and no tensor is kept in memory.

    \b
    python -m convert inspect out/full_sft_512-hf
    python -m convert inspect runs/pretrain_512/20261121-093000/step-000500 --all
    """
    if not path.exists():
        raise UserError(f"{path}: does not exist", suggestion(path))
    found = inspected(path)
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        print("\n".join(lines(found, every)))
    if found["problems"]:
        sys.exit(1)


def inspected(path: Path) -> dict[str, Any]:
    """Return all that can be told of a path."""
    problems: list[str] = []
    about: dict[str, Any] = {"path": str(path)}
    about |= _adapter(path) if is_adapter(path) else _model(path, problems)
    tensors = _tensors(path, problems)
    if path.is_dir() and manifest.read(path):
        problems += [f"{name}: {problem}" for name, problem in manifest.faults(path)]
        about["made of"] = manifest.read(path).get("source", {}).get("path", "a run")
    totals: dict[str, int] = {}
    for tensor in tensors.values():
        totals[tensor["dtype"]] = totals.get(tensor["dtype"], 0) + tensor["numbers"]
    bytes_ = sum(tensor["bytes"] for tensor in tensors.values())
    return about | {"numbers": totals, "bytes": bytes_, "problems": problems, "tensors": tensors}


def _adapter(path: Path) -> dict[str, Any]:
    adapter = Adapter(path)
    config = adapter.config
    return {
        "kind": "a LoRA adapter, PEFT's format",
        "rank": config["r"],
        "scale": f"{config['lora_alpha']} / {config['r']}",
        "base": config.get("base_model_name_or_path") or "not named",
        "weights it changes": len(adapter.factors),
    }


def _model(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        if path.suffix == ".pth" and not minimind_lora.holds_model(path):
            lora = minimind_lora.read_lora(path)
            rank = {"rank": lora.rank, "weights it changes": len(lora.pairs)}
            return {"kind": "a LoRA adapter of MiniMind's"} | rank
        source = open_source(path)
    except UserError as error:
        if path.is_file() and path.suffix != ".pth":
            return {"kind": "a file of tensors"}
        problems.append(error.problem)
        return {"kind": "not a whole model"}
    return _described(source)


def _described(source: Source) -> dict[str, Any]:
    cfg, told = source.cfg, source.provenance
    about: dict[str, Any] = {"kind": source.kind, "leaves as": _leaves_as(source)}
    about["parameters"] = count(cfg)
    if cfg.moe:
        experts = f"{cfg.moe.num_experts}, {cfg.moe.num_experts_per_tok} a token"
        about |= {"active": active(cfg), "experts": experts}
    heads = f"{cfg.num_attention_heads} heads on {cfg.num_key_value_heads}"
    about["shape"] = f"{cfg.hidden_size} wide, {cfg.num_hidden_layers} layers, {heads}"
    known = f"{source.tokenizer.size:,} in its tokenizer" if source.tokenizer else "no tokenizer beside it"
    about["words"] = f"{cfg.vocab_size:,}; {known}"
    for key in ("stage", "step", "measured", "assumed"):
        if told.get(key):
            about[key] = told[key]
    return about


def _leaves_as(source: Source) -> str:
    try:
        return architecture(source.cfg, "auto").architecture
    except UserError as error:
        return f"nothing: {error.problem}"


def _tensors(path: Path, problems: list[str]) -> dict[str, Any]:
    """Return every tensor's shape, number format, size and file."""
    try:
        disk = Disk(_weights_of(path))
    except UserError as error:
        if error.problem not in problems:
            problems.append(error.problem)
        return {}
    return {
        name: {
            "shape": list(stored.shape),
            "dtype": str(stored.dtype).removeprefix("torch."),
            "numbers": stored.nbytes // stored.dtype.itemsize,
            "bytes": stored.nbytes,
            "file": stored.file.name,
        }
        for name, stored in disk.stored.items()
    }


def _weights_of(path: Path) -> Path:
    return open_source(path).folder if (path / "config.yaml").is_file() else path


def lines(found: dict[str, Any], every: bool) -> Iterator[str]:
    """Yield what a person reads."""
    for key, value in found.items():
        if key in ("tensors", "problems", "numbers", "bytes"):
            continue
        shown = value if isinstance(value, str) else json.dumps(value)
        yield f"{key:<20} {f'{value:,}' if isinstance(value, int) else shown}"
    numbers = ", ".join(f"{amount:,} {dtype}" for dtype, amount in found["numbers"].items())
    yield f"{'tensors':<20} {len(found['tensors']):,}: {numbers}; {found['bytes'] / 1e6:,.1f} MB"
    names = list(found["tensors"]) if every else list(found["tensors"])[:FEW]
    width = max(map(len, names), default=0)
    for name in names:
        tensor = found["tensors"][name]
        yield f"  {name:<{width}}  {tensor['dtype']:<9} {tensor['shape']}"
    if len(names) < len(found["tensors"]):
        yield f"  ... {len(found['tensors']) - len(names):,} more: --all"
    yield from (f"wrong: {problem}" for problem in found["problems"])
    if not found["problems"]:
        yield "whole: every tensor and every file accounted for"
