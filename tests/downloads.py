"""Ways in which the weights of a download may lie, each made of a folder with one model.safetensors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from danlu.model.disk import INDEX, PICKLED_INDEX

Lies = Callable[[Path], object]


def sharded(path: Path) -> None:
    """Put the weights of a folder into three files with an index, as hubs have them."""
    state = load_file(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    listed = {}
    for number in range(3):
        file = f"model-{number + 1:05d}-of-00003.safetensors"
        part = {name: state[name] for name in sorted(state)[number::3]}
        save_file(part, path / file, {"format": "pt"})
        listed |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": sum(one.nbytes for one in state.values())}, "weight_map": listed}
    (path / INDEX).write_text(json.dumps(index))


def pickled(path: Path, files: int = 1, zipped: bool = True) -> None:
    """Put the weights of a folder into files of torch's own format."""
    state = load_file(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    listed = {}
    for number in range(files):
        file = "pytorch_model.bin" if files == 1 else f"pytorch_model-{number + 1:05d}-of-{files:05d}.bin"
        part = {name: state[name] for name in sorted(state)[number::files]}
        torch.save(part, path / file, _use_new_zipfile_serialization=zipped)
        listed |= dict.fromkeys(part, file)
    if files > 1:
        (path / PICKLED_INDEX).write_text(json.dumps({"metadata": {}, "weight_map": listed}))


def without_index(path: Path) -> None:
    sharded(path)
    (path / INDEX).unlink()


def both(path: Path) -> None:
    """Keep the weights in torch's own format as well; what is safe is read."""
    state = load_file(path / "model.safetensors")
    torch.save({name: torch.zeros_like(tensor) for name, tensor in state.items()}, path / "pytorch_model.bin")
    torch.save({"lr": 1}, path / "training_args.bin")
