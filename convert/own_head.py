"""A tied head written out: the embedding a second time, under the head's name.

Some servers do not tie these families' heads, whatever config.json says, and score with numbers that nobody
filled. A head of its own with the same numbers is the same model to every reader.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from convert.served import OWN_HEAD
from convert.source import Source
from danlu.model.disk import Span
from danlu.model.families import Family
from danlu.model.layout import Ours, Target, Unit

HEAD, EMBEDDING = Unit("lm_head.weight"), Unit("model.embed_tokens.weight")


def with_own_head(source: Source, family: Family) -> Source:
    """Return a source as it leaves: with its head written out where the family's readers need that."""
    if not (source.cfg.tie_word_embeddings and family.model_type in OWN_HEAD):
        return source
    cfg = source.cfg.model_copy(update={"tie_word_embeddings": False})
    return replace(source, cfg=cfg, ours=OwnHead(source.ours))


class OwnHead:
    """Our tensors, and the embedding once more as the head."""

    def __init__(self, ours: Ours) -> None:
        self.ours = ours

    def unit(self, unit: Unit) -> Tensor:
        return self.ours.unit(EMBEDDING if unit == HEAD else unit)

    def lies(self, target: Target) -> bool:
        return target.name != HEAD.name and self.ours.lies(target)

    def run(self, target: Target, begin: int, end: int) -> Tensor:
        return self.ours.run(target, begin, end)

    def span(self, target: Target, dtype: torch.dtype) -> Span | None:
        return self.ours.span(target, dtype)

    def dtype(self, unit: Unit) -> torch.dtype:
        return self.ours.dtype(EMBEDDING if unit == HEAD else unit)
