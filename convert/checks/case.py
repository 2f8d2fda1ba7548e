"""What is checked against what, and what was found."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from convert import manifest
from convert.recipe import Recipe
from danlu.base.errors import UserError
from danlu.model.disk import Disk


class CannotCheck(UserError):
    """What keeps a check from being made, which is no fault of what is checked."""


class Fault(NamedTuple):
    """One thing that is wrong."""

    place: str
    """A file, and within it a tensor or a key."""
    problem: str


@dataclass
class Case:
    """An export, what it must be, and measurements."""

    folder: Path
    recipe: Recipe
    described: dict[str, Any]
    """Its config.json."""
    brought_in: bool = False
    """It is no export but finished weights of ours, made of what another program reads."""
    measured: dict[str, Any] = field(default_factory=dict)

    @property
    def ours(self) -> bool:
        """Whether it was written here, and must therefore be what we write to the letter."""
        told = manifest.read(self.folder)
        if told:
            return "arranged" not in told  # by `experts`, of whatever it was
        # transformers keeps our section where it writes a model again, and always adds its version.
        again = "transformers_version" in self.described
        trained = (self.folder / "run.json").exists() and not self.brought_in
        return "danlu" in self.described and not again and not trained

    @functools.cached_property
    def disk(self) -> Disk:
        return Disk(self.folder)


Faults = Iterator[Fault]
