"""How tensors on disk are made of ours, and ours of those on disk: one plan, followed both ways.

    plan("phi3")    self_attn.qkv_proj.weight     <- q_proj.weight | k_proj.weight | v_proj.weight
    plan("qwen3")   mlp.experts.0.gate_proj...    <- the first rows of expert 0 of mlp.experts.gate_up_proj

A *unit* is one of our tensors, or one expert's share of a stack. Units are what is read, held and let go,
so that a layer of experts never has to fit into memory whole.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from danlu.base.errors import UserError
from danlu.model.disk import Span
from danlu.model.families.family import Family, Part
from danlu.model.shape import ModelConfig


class Unit(NamedTuple):
    """One of our tensors, or one expert's share of it."""

    name: str
    expert: int | None = None

    def __str__(self) -> str:
        return self.name if self.expert is None else f"{self.name}[{self.expert}]"


class Made(NamedTuple):
    """A piece of a tensor on disk: of which unit, and where it lies in both."""

    unit: Unit
    part: Part
    shape: tuple[int, ...]
    """Of the unit."""


class Target(NamedTuple):
    """One tensor on disk and what it is made of; of nothing, where it must be zero."""

    name: str
    shape: tuple[int, ...]
    pieces: tuple[Made, ...]

    @property
    def is_ours(self) -> bool:
        """Whether it is one of our tensors, whole and as it is."""
        return [piece[:2] for piece in self.pieces] == [(Unit(self.name), Part(self.name))]


class Ours(Protocol):
    """Our tensors by name, wherever they come from."""

    def unit(self, unit: Unit) -> Tensor:
        """Return one of our tensors or one expert's share."""
        ...

    def lies(self, target: Target) -> bool:
        """Return whether a tensor on disk lies there as such, so that runs of its rows can be read."""
        ...

    def run(self, target: Target, begin: int, end: int) -> Tensor:
        """Return some rows of one that does."""
        ...

    def span(self, target: Target, dtype: torch.dtype) -> Span | None:
        """Return where a tensor on disk lies as such in that number format, if it does."""
        ...

    def dtype(self, unit: Unit) -> torch.dtype:
        """Return the number format it is stored in."""
        ...


def shapes(cfg: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of our tensors."""
    from danlu.model.decoder import Decoder  # builds layers, which plans do not need otherwise

    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in Decoder(cfg).state_dict().items()}


def plan(family: Family, cfg: ModelConfig, stacked: Iterable[str] = ()) -> dict[str, Target]:
    """Return every tensor on disk by name, in order; stacks named in `stacked` lie there whole."""
    pieces: dict[str, list[Made]] = {}
    for name, shape in shapes(cfg).items():
        for part in [Part(name)] if name in stacked else family.parts(name, cfg):
            pieces.setdefault(part.name, []).append(_made(name, shape, part))
    targets = {name: Target(name, _shape(made[0]), tuple(made)) for name, made in pieces.items()}
    for name, shape in family.zeros(cfg).items():
        targets[name] = Target(name, shape, ())
    return targets


def _made(name: str, shape: tuple[int, ...], part: Part) -> Made:
    if ".experts." in name and part.place and isinstance(part.place[0], int):
        return Made(Unit(name, part.place[0]), part._replace(place=part.place[1:]), shape[1:])
    return Made(Unit(name), part, shape)


def _shape(made: Made) -> tuple[int, ...]:
    if made.part.fused:
        return made.part.fused.shape
    return tuple(made.part.of(torch.empty(made.shape, device="meta")).shape)


def size(target: Target) -> int:
    """Return how many numbers a tensor on disk has."""
    return math.prod(target.shape)


def build(target: Target, ours: Ours, like: torch.dtype) -> Tensor:
    """Return a tensor on disk, made of ours; zeros are of the number format `like`."""
    if not target.pieces:
        return torch.zeros(target.shape, dtype=like)
    whole: Tensor | None = None
    filled = 0
    for unit, part, _ in target.pieces:
        piece = part.of(ours.unit(unit))
        piece = piece * part.factor if part.factor != 1.0 else piece
        if part.fused is None:
            return piece
        whole = torch.empty(target.shape, dtype=dtype_of(target, ours)) if whole is None else whole
        place = part.fused.of(whole)
        place.copy_(piece.reshape(place.shape))
        filled += piece.numel()
    assert whole is not None and filled == math.prod(target.shape), f"{target.name}: is filled in part only"
    return whole


def dtype_of(target: Target, ours: Ours) -> torch.dtype:
    """Return the number format that holds all a tensor on disk is made of."""
    return functools.reduce(torch.promote_types, (ours.dtype(made.unit) for made in target.pieces))


def in_pieces(target: Target, ours: Ours, like: torch.dtype, limit: int) -> Iterator[Tensor]:
    """Yield a tensor on disk: in runs of rows of about `limit` bytes where it lies so already, else whole."""
    if not ours.lies(target):
        yield build(target, ours, like)
        return
    rows = max(1, limit // (4 * math.prod(target.shape[1:])))
    for begin in range(0, target.shape[0], rows):
        yield ours.run(target, begin, min(begin + rows, target.shape[0]))


def fill(unit: Tensor, part: Part, found: Tensor) -> None:
    """Put a tensor found on disk where it belongs in a unit."""
    place = part.of(unit)
    place.copy_(part.fused.of(found).reshape(place.shape) if part.fused else found)
    if part.factor != 1.0:
        place.div_(part.factor)


class InMemory:
    """Our tensors in a dictionary."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.state = state

    def unit(self, unit: Unit) -> Tensor:
        if unit.name not in self.state:
            raise UserError(f"{unit.name}: is missing", "whole weights of the model in config.json")
        tensor = self.state[unit.name].detach()
        return tensor if unit.expert is None else tensor[unit.expert]

    def lies(self, target: Target) -> bool:
        return False  # it is not on disk, and needs no copy

    def run(self, target: Target, begin: int, end: int) -> Tensor:
        raise AssertionError(f"{target.name}: does not lie anywhere")

    def span(self, target: Target, dtype: torch.dtype) -> Span | None:
        return None

    def dtype(self, unit: Unit) -> torch.dtype:
        return self.unit(unit).dtype


class Once:
    """Our tensors from elsewhere, the last one kept: neighbours on disk are often parts of one."""

    def __init__(self, ours: Ours) -> None:
        self.unit = functools.lru_cache(maxsize=1)(ours.unit)
        self.lies, self.run, self.span, self.dtype = ours.lies, ours.run, ours.span, ours.dtype
