"""Over how many devices one model is split: its tensor-parallel size, and why it is that.

    degree(model, 8)    Degree(4, "4 of 8 devices: 12 heads do not divide by 8")

Every device takes an equal share of the heads, of the experts and of the MLPs' width. Keys' and values' heads
are shared out too, or, where there are fewer of them than devices, given to several devices each.
"""

from __future__ import annotations

from typing import NamedTuple

from danlu.base.errors import UserError
from danlu.serve.vllm.model import Model


class Degree(NamedTuple):
    """How many devices are used, and what to say about it."""

    size: int
    reason: str


def degree(model: Model, devices: int, asked: int | None = None) -> Degree:
    """Return the tensor-parallel size: the one asked for if it divides, else the largest that does."""
    if asked is not None:
        return _as_asked(model, devices, asked)
    size = next(size for size in range(devices, 0, -1) if not obstacles(model, size))
    if size == devices:
        return Degree(size, f"{size} devices share the model" if size > 1 else "")
    blocked = obstacles(model, devices)[0]
    return Degree(size, f"{size} of {devices} devices: {blocked}")


def obstacles(model: Model, size: int) -> list[str]:
    """Return what does not divide by so many devices, in words."""
    parts = [("heads", model.heads), ("experts", model.experts), *model.widths]
    found = [f"{count} {_words(name)} do not divide by {size}" for name, count in parts if count % size]
    kept = model.kv_heads
    if not model.latent and kept % size and size % kept:
        found.append(f"{kept} key and value heads and {size} devices do not divide")
    return found


def _as_asked(model: Model, devices: int, asked: int) -> Degree:
    fitting = [size for size in range(1, devices + 1) if not obstacles(model, size)]
    hint = "--tp " + " or ".join(map(str, fitting))
    if asked > devices:
        raise UserError(f"--tp {asked}: {devices} device{'s' * (devices != 1)} chosen", hint)
    if asked not in fitting:
        raise UserError(f"--tp {asked}: {obstacles(model, asked)[0]}", hint)
    return Degree(asked, f"{asked} devices share the model" if asked > 1 else "")


def _words(name: str) -> str:
    return f"columns of {name}" if name.endswith("size") or name == "n_inner" else name
