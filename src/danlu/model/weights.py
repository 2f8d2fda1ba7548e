"""Finished weights on disk: safetensors and a config.json, in the family's own layout.

    out/full_sft_512/config.json
                     model.safetensors                     or, above `shard_size`,
                     model-00001-of-00003.safetensors ...  with model.safetensors.index.json

In memory all experts of a layer are one stack; on disk each expert has matrices of its own, as published
checkpoints have them. A family's `parts` say which tensor on disk is which part of one of ours; writing
and reading both follow it, tensor by tensor. Nothing here is ever unpickled.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from danlu.base.errors import UserError
from danlu.model.config import read_hf, read_type
from danlu.model.families import choose, get, to_hf
from danlu.model.families.family import Family, Part
from danlu.model.shape import ModelConfig

INDEX = "model.safetensors.index.json"


def read_config(folder: str | Path) -> ModelConfig:
    """Return the configuration of the weights in a folder."""
    return read_hf(Path(folder))


def save(
    state: Mapping[str, Tensor],
    cfg: ModelConfig,
    folder: str | Path,
    shard_size: int = 4 << 30,
    dtype: torch.dtype | None = None,
    extra: dict[str, Any] | None = None,
) -> None:
    """Write weights and config.json into an existing folder; the caller makes the folder appear whole.

    `dtype` converts what has more than one dimension; `extra` goes into config.json, the tokenizer's
    special tokens for instance.
    """
    folder = Path(folder)
    writer = _Writer(folder, shard_size)
    for name, tensor in _to_disk(state, cfg):
        writer.add(name, tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor)
    writer.close()
    number = str(dtype or next(iter(state.values())).dtype).removeprefix("torch.")
    described = to_hf(cfg) | {"dtype": number, "torch_dtype": number} | (extra or {})
    (folder / "config.json").write_text(
        json.dumps(described, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def load(folder: str | Path, model: nn.Module) -> None:
    """Fill a model with the weights of a folder, converting to the model's number format."""
    cfg: ModelConfig = model.cfg  # type: ignore[assignment]
    _fill(model.state_dict(), Path(folder), cfg)


def read_state(folder: str | Path, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Return the weights of a folder under our names."""
    from danlu.model.build import build_empty  # builds decoders, which this module does not need otherwise

    cfg = read_config(folder)
    state = build_empty(cfg, "meta").state_dict()
    empty = {name: torch.empty(tensor.shape, dtype=dtype or tensor.dtype) for name, tensor in state.items()}
    _fill(empty, Path(folder), cfg)
    return empty


def _to_disk(state: Mapping[str, Tensor], cfg: ModelConfig) -> Iterator[tuple[str, Tensor]]:
    family = choose(cfg)
    unfinished: dict[str, tuple[Tensor, int]] = {}
    """Tensors made of several of ours, and how many numbers they still lack."""
    for name, tensor in state.items():
        for part in family.parts(name, cfg):
            piece = part.of(tensor.detach())
            piece = piece * part.factor if part.factor != 1.0 else piece
            if part.fused is None:
                yield part.name, piece
                continue
            fresh = (torch.empty(part.fused.shape, dtype=piece.dtype), math.prod(part.fused.shape))
            disk, lacking = unfinished.pop(part.name, fresh)
            place = part.fused.of(disk)
            place.copy_(piece.reshape(place.shape))
            if lacking > piece.numel():
                unfinished[part.name] = disk, lacking - piece.numel()
            else:
                yield part.name, disk
    assert not unfinished, f"{family.model_type}: never finished: {', '.join(unfinished)}"
    like = next(iter(state.values()))
    for name, shape in family.zeros(cfg).items():
        yield name, torch.zeros(shape, dtype=like.dtype)


class _Writer:
    """Collects tensors into files of at most `limit` bytes, then names the files by how many there are."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self.pending: dict[str, Tensor] = {}
        self.size = self.total = 0
        self.files: list[list[str]] = []

    def add(self, name: str, tensor: Tensor) -> None:
        if self.pending and self.size + tensor.nbytes > self.limit:
            self._flush()
        # A copy of its own: safetensors refuses views that share memory.
        self.pending[name] = tensor.to("cpu", copy=True, memory_format=torch.contiguous_format)
        self.size += tensor.nbytes
        self.total += tensor.nbytes

    def _flush(self) -> None:
        save_file(self.pending, self.folder / f"part-{len(self.files)}", metadata={"format": "pt"})
        self.files.append(list(self.pending))
        self.pending, self.size = {}, 0

    def close(self) -> None:
        self._flush()
        count = len(self.files)
        if count == 1:
            (self.folder / "part-0").rename(self.folder / "model.safetensors")
            return
        where: dict[str, str] = {}
        for number, names in enumerate(self.files):
            file = f"model-{number + 1:05d}-of-{count:05d}.safetensors"
            (self.folder / f"part-{number}").rename(self.folder / file)
            where |= dict.fromkeys(names, file)
        index = {"metadata": {"total_size": self.total}, "weight_map": where}
        (self.folder / INDEX).write_text(json.dumps(index, indent=2), encoding="utf-8")


@torch.no_grad()
def _fill(state: dict[str, Tensor], folder: Path, cfg: ModelConfig) -> None:
    family = get(read_type(folder))
    with _Reader(folder) as disk:
        for name, tensor in state.items():
            whole = Part(name)
            parts = [whole] if name in disk.where and ".experts." in name else family.parts(name, cfg)
            for part in parts:
                _fill_part(part.of(tensor), part, disk, lambda name, found: family.read(name, found, cfg))
        _check_zeros(disk, family, cfg)


def _fill_part(place: Tensor, part: Part, disk: _Reader, meant: Callable[[str, Tensor], Tensor]) -> None:
    found = meant(part.name, disk.get(part.name))
    wanted = part.fused.shape if part.fused else tuple(place.shape)
    if tuple(found.shape) != wanted:
        raise UserError(
            f"{disk.folder}: {part.name}: is {tuple(found.shape)}, the model wants {wanted}",
            "weights of the same architecture, or the model of these weights (model= their folder)",
        )
    place.copy_(part.fused.of(found).reshape(place.shape) if part.fused else found)
    if part.factor != 1.0:
        place.div_(part.factor)


def _check_zeros(disk: _Reader, family: Family, cfg: ModelConfig) -> None:
    for name in family.zeros(cfg):
        if name in disk.where and disk.get(name).any():
            raise UserError(
                f"{disk.folder}: {name}: is not zero, so it was trained elsewhere since it was written here",
                "remove the section 'danlu' from its config.json to read it as what it has become",
            )


class _Reader:
    """The tensors of a folder by name, whatever files they lie in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.where: dict[str, Any] = {}
        self._open: list[Any] = []

    def __enter__(self) -> _Reader:
        files = sorted(self.folder.glob("*.safetensors"))
        if not files:
            raise UserError(
                f"{self.folder}: there is no .safetensors file in it", "a folder of finished weights"
            )
        for file in files:
            try:
                opened = safe_open(file, framework="pt").__enter__()
            except (OSError, SafetensorError) as error:
                raise UserError(f"{file}: cannot be read: {error}", "copy or download it again") from None
            self._open.append(opened)
            self.where |= dict.fromkeys(opened.keys(), opened)
        return self

    def __exit__(self, *error: Any) -> None:
        for opened in self._open:
            opened.__exit__(None, None, None)

    def get(self, name: str) -> Tensor:
        if name not in self.where:
            raise UserError(
                f"{self.folder}: {name}: is missing",
                "whole weights of the same architecture; an unfinished download is a common cause",
            )
        tensor: Tensor = self.where[name].get_tensor(name)
        return tensor
