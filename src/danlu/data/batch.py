"""One micro-batch: rows of whole samples end to end, and where each sample lies.

    tokens     a a a a b b . .      c c c c c c c .        . is padding
    labels     a a a A b B _ _      c c c c c c C _        the token after; _ is IGNORE
    positions  0 1 2 3 0 1 0 0      0 1 2 3 4 5 6 0
    samples    0 0 0 0 1 1 - -      2 2 2 2 2 2 2 -        - is -1
    bounds     0       4   6        8             15  16   starts of samples and of padding, and the end

A sample of n ids takes n - 1 places: its last id is only ever a label (A, B, C above), since nothing
is predicted from it. Samples never cross rows and their attention never crosses samples.

Letters: B rows, T tokens of a row, N tokens of all samples, S samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from danlu.device.ops import Layout

IGNORE = -100


@dataclass
class Batch:
    """What a model reads and what it should have said."""

    tokens_BT: Tensor
    labels_BT: Tensor
    """The token after each token; IGNORE where nothing is learned."""
    positions_BT: Tensor
    samples_BT: Tensor
    """Number of the sample in this micro-batch, -1 for padding."""
    weights_BT: Tensor | None
    """How much each label counts in the sum of losses; None: 1 each. The count is not weighted."""
    count: int
    """Labels that are learned."""
    num_tokens: int
    """Tokens that are not padding."""
    rows: list[int] = field(default_factory=list)
    """Numbers of the records in the data, for naming them in errors."""
    bounds: Tensor | None = None
    longest: int = 0
    num_samples: int = 0

    def to(self, device: torch.device | str) -> Batch:
        """Return the same batch on a device."""
        moved: dict[str, Any] = {
            f.name: value.to(device, non_blocking=True)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, **moved)

    def layout(self) -> Layout:
        """Return which tokens may see which."""
        return Layout(bounds=self.bounds, longest=self.longest)

    @classmethod
    def empty_like(cls, other: Batch) -> Batch:
        """Return a batch of the same shape that is all padding and teaches nothing."""
        nothing = np.zeros(0, np.int64)
        made = lay_out(nothing, nothing, None, [[] for _ in other.tokens_BT], other.tokens_BT.shape[1])
        return replace(
            made, weights_BT=None if other.weights_BT is None else torch.zeros(other.tokens_BT.shape)
        )


def lay_out(
    tokens_N: np.ndarray,
    labels_N: np.ndarray,
    weights_N: np.ndarray | None,
    lengths: Sequence[Sequence[int]],
    width: int,
    pad: int = 0,
) -> Batch:
    """Return samples that lie end to end in `tokens_N` as rows of `width`; `lengths` are theirs, by row.

    >>> lay_out(np.array([5, 6, 7]), np.array([6, 9, 8]), None, [[2, 1], []], width=4).tokens_BT.tolist()
    [[5, 6, 7, 0], [0, 0, 0, 0]]
    """
    B, N = len(lengths), len(tokens_N)
    length_S = np.fromiter((n for row in lengths for n in row), np.int64)
    row_S = np.repeat(np.arange(B), [len(row) for row in lengths])
    first_S = np.cumsum(length_S) - length_S  # where each sample begins among the N
    used_B = np.bincount(row_S, length_S, minlength=B).astype(np.int64)
    begin_S = row_S * width + first_S - (np.cumsum(used_B) - used_B)[row_S]  # and among the B * T
    place_N = np.arange(N) + np.repeat(begin_S - first_S, length_S)

    def spread(values_N: np.ndarray, filler: float, kind: type = np.int64) -> Tensor:
        out: np.ndarray = np.full(B * width, filler, kind)
        out[place_N] = values_N
        return torch.from_numpy(out.reshape(B, width))

    edges = [np.arange(B + 1) * width, begin_S, np.arange(B) * width + used_B]
    bounds = np.unique(np.concatenate(edges)).astype(np.int32)
    return Batch(
        tokens_BT=spread(tokens_N, pad),
        labels_BT=spread(labels_N, IGNORE),
        positions_BT=spread(np.arange(N) - np.repeat(first_S, length_S), 0),
        samples_BT=spread(np.repeat(np.arange(len(length_S)), length_S), -1),
        weights_BT=None if weights_N is None else spread(weights_N, 0.0, np.float32),
        count=int((labels_N != IGNORE).sum()),
        num_tokens=N,
        bounds=torch.from_numpy(bounds),
        longest=int(np.diff(bounds).max()),
        num_samples=len(length_S),
    )


def collate(
    groups: Sequence[Sequence[np.ndarray]], width: int, rows: int | None = None, pad: int = 0
) -> Batch:
    """Return plain samples, every token of which is read and every next one learned, one group a row.

    With `rows`, rows of padding are added up to that many, so that the last batch has the usual shape.
    """
    samples = [np.asarray(sample, np.int64) for group in groups for sample in group]
    labels = [np.append(sample[1:], IGNORE) for sample in samples]
    lengths = [[len(sample) for sample in group] for group in groups]
    lengths += [[] for _ in range((rows or 0) - len(lengths))]
    nothing = [np.zeros(0, np.int64)]
    return lay_out(
        np.concatenate(samples or nothing), np.concatenate(labels or nothing), None, lengths, width, pad
    )
