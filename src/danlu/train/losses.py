"""Losses: sums over what a batch supervises. The stepper divides, once, by how many there are.

B rows, T tokens of a row, C channels, V words, S samples of the micro-batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from danlu.data.batch import IGNORE, Batch
from danlu.device import ops
from danlu.parallel.data import unwrap

__all__ = ["IGNORE", "Loss", "LossFn", "next_token", "token_nll"]


@dataclass
class Loss:
    """A sum to make small, and sums to report beside it; all are divided by the same count."""

    total: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)


LossFn = Callable[[nn.Module, Batch], Loss]


def next_token(model: nn.Module, batch: Batch) -> Loss:
    """Cross-entropy of every supervised token, plus the balance loss of a mixture of experts.

    Weights multiply a token's loss and not the count, so a weight of 10 is felt as 10.
    """
    nll_BT, balance = _forward(model, batch, batch.weights_BT)
    total = nll_BT.sum()
    if balance is None:
        return Loss(total)
    balance = spread(balance, batch)
    return Loss(total + balance, {"balance": balance.detach()})


def token_nll(model: nn.Module, batch: Batch) -> Tensor:
    """Return -log p of every supervised token [B, T], 0 elsewhere."""
    return _forward(model, batch, None)[0]


def _forward(model: nn.Module, batch: Batch, weights_BT: Tensor | None) -> tuple[Tensor, Tensor | None]:
    output = model(batch.tokens_BT, batch.positions_BT, batch.samples_BT, batch.layout())
    decoder = unwrap(model)
    hidden_NC, head_VC = decoder.scored(output.hidden.flatten(0, 1))
    nll_N = ops.cross_entropy(
        hidden_NC,
        head_VC,
        batch.labels_BT.flatten(),
        None if weights_BT is None else weights_BT.flatten(),
        softcap=decoder.cfg.logit_softcap,
    )
    return nll_N.view_as(batch.labels_BT), output.balance


def spread(balance: Tensor, batch: Batch) -> Tensor:
    """Return the balance loss as the sum a batch must contribute.

    One number a sample [S] weighs as many tokens as the sample supervises: packed, cut or spread over
    ranks, the sum is the same. One number for the whole micro-batch [] weighs the batch's count; it
    depends on the cut, which is the declared exception.
    """
    if balance.ndim == 0:
        return batch.count * balance
    if balance.numel() == 0:
        return balance.sum()
    taught_N = (batch.labels_BT.flatten() != IGNORE).to(balance.dtype)
    sample_N = batch.samples_BT.flatten().clamp(min=0)  # padding has sample -1 and teaches nothing
    taught_S = torch.zeros_like(balance).index_add(0, sample_N, taught_N)
    return (taught_S * balance).sum()
