"""What a mixture is made of, as a user writes it: in the configuration, or in a file of its own.

    data.train=mix.yaml                       data:
                                                mixture:
    names: [web, code]                            level: token
    sources: [web.jsonl, code.jsonl]              sources:
    level: token                                  - {name: web, paths: web.jsonl, weight: 1}
    schedule:                                     - name: code
    - schedule_type: linear                         paths: code.jsonl
      weights: [1, 0.5]                             weight: [{schedule_type: linear, weight: 0.5,
      to: [1, 4.5]                                            to: 4.5, steps: 1000}]
      steps: 1000

Weights say how much of each source there is beside the others; they need not add up to 1. A schedule is
pieces one after another, each so many optimiser steps long; the last value stays. Paths are as in
`data.train`, so they count from where `danlu` is called.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from danlu.base import config
from danlu.base.config import Section
from danlu.base.errors import UserError

KINDS = ("const", "linear", "cosine")


def one_or_many(value: Any) -> Any:
    """Return words written as one text with commas, or as a list, as a tuple."""
    if isinstance(value, str):
        return tuple(part for part in value.split(",") if part)
    return tuple(value) if isinstance(value, list) else value


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


Words = Annotated[tuple[str, ...], BeforeValidator(one_or_many)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Piece(Section):
    """One part of a schedule of weights."""

    schedule_type: Literal["const", "linear", "cosine"] = "const"
    """const: the weight stays; linear, cosine: it goes to `to`."""
    weight: Weight
    """At the beginning."""
    to: Weight | None = None
    """At the end."""
    steps: int | None = Field(default=None, ge=1)
    """How many optimiser steps it lasts; unset: to the end of the run."""

    @model_validator(mode="after")
    def _whole(self) -> Piece:
        if self.schedule_type != "const" and (self.to is None or self.steps is None):
            raise ValueError(f"{self.schedule_type} needs to and steps; try: to: 4.5, steps: 1000")
        if self.schedule_type == "const" and self.to is not None:
            raise ValueError("const goes nowhere, but has to; try: schedule_type: linear")
        return self

    def at(self, step: float) -> float:
        """Return the weight so many steps after the piece began."""
        if self.to is None or self.steps is None:
            return self.weight
        gone = min(max(step / self.steps, 0.0), 1.0)
        if self.schedule_type == "cosine":
            gone = (1 - math.cos(math.pi * gone)) / 2
        return self.weight + (self.to - self.weight) * gone


def _pieces(value: Any) -> Any:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return ({"weight": value},) if number else _tuple(value)


class Part(Section):
    """One source of a mixture."""

    name: str
    """What the log calls it."""
    paths: Words
    """Its files: one path, a list, or paths with commas between."""
    weight: Annotated[
        tuple[Piece, ...], BeforeValidator(_pieces, json_schema_input_type=float | tuple[Piece, ...])
    ] = (Piece(weight=1.0),)
    """How much of it there is beside the others: a number, or pieces of a schedule."""
    streamed: bool | None = None
    """As in `data.streamed`, for this source alone; unset: the same."""

    @model_validator(mode="after")
    def _something(self) -> Part:
        if not self.paths:
            raise ValueError(f"{self.name}: no paths; try: paths: [FILE.jsonl]")
        if not self.weight or any(piece.steps is None for piece in self.weight[:-1]):
            raise ValueError(f"{self.name}: every piece but the last needs steps; try: steps: 1000")
        return self

    def weight_at(self, step: float, before: bool = False) -> float:
        """Return the weight at an optimiser step, or what it comes to just `before` that.

        >>> going = Piece(schedule_type="linear", weight=0.5, to=4.5, steps=100)
        >>> part = Part(name="a", paths="a.jsonl", weight=(going,))
        >>> part.weight_at(0), part.weight_at(50), part.weight_at(1000)
        (0.5, 2.5, 4.5)
        """
        for piece in self.weight[:-1]:
            assert piece.steps is not None
            if step < piece.steps or (before and step == piece.steps):
                return piece.at(step)
            step -= piece.steps
        return self.weight[-1].at(step)


class Recipe(Section):
    """Several sources, and how much of each."""

    sources: Annotated[tuple[Part, ...], BeforeValidator(_tuple)] = ()
    """What is mixed: a list of {name, paths, weight}; see `danlu.data.recipe`. Empty: `train` alone."""
    level: Literal["sample", "token"] = "token"
    """What weights count: samples, or their tokens."""
    stop: Literal["never", "first", "all"] = "never"
    """What an epoch is: never: as many samples as all sources hold together, each source beginning again
    when it ends; first: until the first source has ended; all: until every source has ended once."""

    @model_validator(mode="after")
    def _weighs(self) -> Recipe:
        names = [part.name for part in self.sources]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two sources are named {twice}; try: another name for one")
        for step in self._corners():
            if self.sources and not any(part.weight_at(step) for part in self.sources):
                raise ValueError(f"all weights are 0 at step {step}; try: a weight above 0")
            if self.sources and not any(part.weight_at(step, before=True) for part in self.sources):
                raise ValueError(f"all weights go to 0 at step {step}; try: to above 0 for one of them")
        for part in self.sources:
            if self.stop == "all" and not part.weight_at(math.inf):
                raise ValueError(f"{part.name} ends with weight 0, so all never end; try: stop: never")
        return self

    def _corners(self) -> list[int]:
        """Return the steps at which a piece begins or has ended: between them no weight can all vanish."""
        corners = {0}
        for part in self.sources:
            at = 0
            for piece in part.weight:
                at += piece.steps or 0
                corners.add(at)
        return sorted(corners)

    def weights(self, step: float) -> list[float]:
        """Return each source's share at an optimiser step; together 1."""
        weights = [part.weight_at(step) for part in self.sources]
        total = sum(weights)
        return [weight / total for weight in weights]


class _Piece(Section):
    schedule_type: str = "const"
    weights: tuple[float, ...]
    to: tuple[float, ...] | None = None
    steps: int | None = None


class _File(Section):
    sources: tuple[str | tuple[str, ...], ...]
    names: tuple[str, ...] = ()
    schedule: tuple[_Piece, ...] = ()
    level: str = "token"
    stop: str = "never"


def is_recipe(paths: Sequence[str | Path]) -> bool:
    """Return whether what stands for the data is the file of a mixture."""
    return any(str(path).endswith((".yaml", ".yml")) for path in paths)


def read(path: str | Path) -> Recipe:
    """Return the mixture a YAML file describes."""
    data = config.read(Path(path))
    data = data | {key: _list(path, key, data.get(key)) for key in ("sources", "schedule")}
    file = config.check(_File, data, str(path))
    if not file.sources:
        raise UserError(f"{path}: sources: is empty", "sources: [a.jsonl, b.jsonl]")
    for number, source in enumerate(file.sources):
        if not one_or_many(source):
            raise UserError(f"{path}: sources[{number}]: names no file", "sources: [a.jsonl, b.jsonl]")
    names = file.names or tuple(Path(one_or_many(source)[0]).stem for source in file.sources)
    _counts(path, file, names)
    sources = [
        {"name": name, "paths": source, **_weight(file, number)}
        for number, (name, source) in enumerate(zip(names, file.sources))
    ]
    return config.check(Recipe, {"sources": sources, "level": file.level, "stop": file.stop}, str(path))


def _counts(path: str | Path, file: _File, names: Sequence[str]) -> None:
    """Refuse lists that should be as long as that of the sources and are not."""
    counted: list[tuple[str, int]] = [("names", len(names))]
    for number, piece in enumerate(file.schedule):
        counted.append((f"schedule[{number}].weights", len(piece.weights)))
        if piece.to is not None:
            counted.append((f"schedule[{number}].to", len(piece.to)))
        if piece.schedule_type not in KINDS:
            raise UserError(
                f"{path}: schedule[{number}].schedule_type: found '{piece.schedule_type}'",
                f"one of: {', '.join(KINDS)}",
            )
    for key, entries in counted:
        if entries != len(file.sources):
            raise UserError(
                f"{path}: {key}: has {entries} entries for {len(file.sources)} sources", "one for each"
            )


def _weight(file: _File, number: int) -> dict[str, Any]:
    pieces = [
        {"schedule_type": piece.schedule_type, "weight": piece.weights[number], "steps": piece.steps}
        | ({"to": piece.to[number]} if piece.to else {})
        for piece in file.schedule
    ]
    return {"weight": pieces} if pieces else {}


def _list(path: str | Path, key: str, value: Any) -> list[Any]:
    """Return the entries of a list; one source needs none."""
    if key == "sources" and isinstance(value, str):
        value = [value]
    if value is not None and not isinstance(value, list):
        example = "sources: [a.jsonl, b.jsonl]" if key == "sources" else "schedule: [{weights: [1, 2]}]"
        raise UserError(f"{path}: {key}: found {value!r}, not a list", example)
    return [_lists(each) for each in value or []]


def _lists(value: Any) -> Any:
    """Return a value with tuples for the lists in it, which strict keys want."""
    if isinstance(value, dict):
        return {key: _lists(each) for key, each in value.items()}
    return tuple(map(_lists, value)) if isinstance(value, list) else value
