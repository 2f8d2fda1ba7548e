"""Which words each request may say next: grammars, masks, and no end before `min_tokens`.

A grammar writes 32 words into one number; those of all requests are spread at once:

    bits [B, V/32]    0b...0101  ...      ->    allowed_BV    True False True False ...

A constraint that leaves nothing leaves the end: an answer ends rather than break it.

Letters: B requests, V words of the model.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor

from danlu.generate.request import Request


def allowed(rows: Sequence[Request], like_BV: Tensor) -> Tensor | None:
    """Return the words each request may say, or None where everything is allowed to all."""
    if not any(request.mask or request.constraint or request.too_short for request in rows):
        return None
    allowed_BV = torch.ones(like_BV.shape, dtype=torch.bool, device=like_BV.device)
    _constrain(rows, allowed_BV)
    for row, request in enumerate(rows):
        mask_V = request.mask(request.output) if request.mask else None
        if mask_V is not None:
            allowed_BV[row] &= mask_V.to(like_BV.device)
        if request.too_short and request.ending:
            _without(allowed_BV[row], request.ending)
    return allowed_BV


def _constrain(rows: Sequence[Request], allowed_BV: Tensor) -> None:
    constrained = [row for row, request in enumerate(rows) if request.constraint]
    if not constrained:
        return
    V = allowed_BV.shape[-1]
    bits = np.zeros((len(constrained), -(-V // 32)), dtype=np.int32)
    for line, row in zip(bits, constrained):
        constraint = rows[row].constraint
        assert constraint is not None
        constraint.fill(line)
        if not line.any():
            _only(line, rows[row].ending or rows[row].ends)
    spread = np.unpackbits(bits.view(np.uint8), axis=1, count=V, bitorder="little")
    allowed_BV[constrained] = torch.from_numpy(spread).to(allowed_BV.device).bool()


def _only(line: np.ndarray, tokens: Collection[int]) -> None:
    words = line.view(np.uint32)
    for token in tokens:
        words[token // 32] |= np.uint32(1 << token % 32)


def _without(allowed_V: Tensor, tokens: Collection[int]) -> None:
    """Forbid some words, unless nothing else is allowed."""
    those = torch.tensor(sorted(token for token in tokens if token < len(allowed_V)), device=allowed_V.device)
    before = allowed_V[those]
    allowed_V[those] = False
    if not allowed_V.any():
        allowed_V[those] = before
