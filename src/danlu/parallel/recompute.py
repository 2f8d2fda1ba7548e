"""Recomputation: keep only each block's input, and run the block again when its gradient is due.

Activations of one block instead of all, for a second forward pass: about a third more time
(Chen et al. 2016, "Training deep nets with sublinear memory cost").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute_blocks(blocks: list[nn.Module]) -> None:
    """Make every block forget its activations. Names of weights do not change."""
    for block in blocks:
        block.forward = forgetting(block.forward)


def forgetting(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Return the same function, run again in the backward pass.

    A function of its own, not a partial: torch.compile looks into this one, but skips torch's frames.
    """

    def run(*args: Any, **kwargs: Any) -> Any:
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return run
