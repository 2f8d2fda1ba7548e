"""Adapters merged into the weights they change.

merged = W + scale * B A
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from danlu.base.errors import UserError
from danlu.model import adapter
from danlu.model.adapter import CONFIG, WEIGHTS, is_adapter

__all__ = ["CONFIG", "WEIGHTS", "Adapter", "is_adapter"]


class Adapter(adapter.Adapter):
    """One adapter that can be merged."""

    def check_fits(self, names: Iterable[str], architecture: str) -> None:
        """Refuse an adapter that changes a tensor the model does not have."""
        unknown = sorted((self.factors.keys() | self.replaced.keys()) - set(names))
        if unknown:
            raise UserError(
                f"{self.folder}: {unknown[0]}: {architecture} has no such tensor",
                "the base model that the adapter was made on",
            )

    def check_ties(self, tied: bool, embedding: str, head: str) -> None:
        """Refuse to change one of two tensors that are one: the model with the adapter has two."""
        for name in (embedding, head):
            if tied and self.changes(name):
                raise UserError(
                    f"{self.folder}: {name}: is changed, and the base ties embedding and head",
                    "an adapter on the layers alone; or a base whose head is its own",
                )

    def merged(self, name: str, weight: Tensor) -> Tensor:
        """Return a tensor with what the adapter adds, in float32."""
        if name in self.replaced:
            return self._fitting(name, self.disk.get(self.replaced[name]).float(), weight)
        a, b = self.pair(name)
        added = (b @ a) * self.scale(name)
        if self.turned(name):
            added = added.T
        return weight.float() + self._fitting(name, added, weight)

    def _fitting(self, name: str, found: Tensor, weight: Tensor) -> Tensor:
        if found.shape != weight.shape:
            raise UserError(
                f"{self.folder}: {name}: is {tuple(found.shape)}, the model's is {tuple(weight.shape)}",
                "the base model that the adapter was made on",
            )
        return found

    def apply(self, name: str, pieces: Iterator[Tensor]) -> Iterator[Tensor]:
        """Yield a tensor's pieces with what the adapter adds."""
        if self.changes(name):
            yield self.merged(name, torch.cat(list(pieces)))
        else:
            yield from pieces
