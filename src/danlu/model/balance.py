"""Keeping experts equally busy.

The loss of one layer (Fedus et al. 2021, equation 4), over the tokens of one sample or of the whole
micro-batch, padding left out:

    balance = coef · Σ_e f_e P_e      f_e = E / (K tokens) · times e was chosen,  P_e = its mean score

Only P carries a gradient. Perfect balance gives exactly `coef`. Per sample it is the same packed or
not; per micro-batch it depends on the cut, which is its declared property.

A bias instead (DeepSeek-V3, section 2.1.2) is added to the scores for choosing only: after each step it
goes down for experts that had more tokens than the mean, up for the others.

Letters: N tokens, K experts a token goes to, E experts, S samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from danlu.model.moe import Routing
from danlu.model.shape import MoE


def balance_loss(moe: MoE, routing: Routing, samples_N: Tensor, S: int) -> Tensor:
    """Return one layer's loss: [S], one number a sample, or [] for the whole micro-batch.

    `samples_N` holds each token's sample, -1 for padding.
    """
    if moe.balance == "token":
        samples_N, S = samples_N.clamp(max=0), 1
    scores_NE, chosen_NK = routing
    E, K = scores_NE.shape[1], chosen_NK.shape[1]
    place_N = samples_N + 1  # padding is counted in a place of its own, dropped below
    tokens_S = _tally(place_N, S + 1)[1:].clamp(min=1)
    counts_SE = _tally(place_N[:, None] * E + chosen_NK, (S + 1) * E).view(S + 1, E)[1:]
    sums_SE = scores_NE.new_zeros(S + 1, E).index_add(0, place_N, scores_NE)[1:]
    loss_S = (counts_SE * sums_SE).sum(1) * (moe.balance_coef * E) / (K * tokens_S.square())
    return loss_S.squeeze(0) if moe.balance == "token" else loss_S


def loads(routing: Routing, samples_N: Tensor) -> Tensor:
    """Return how many tokens each expert was chosen by [E], padding left out."""
    E, K = routing.scores_NE.shape[1], routing.chosen_NK.shape[1]
    real_NK = (samples_N >= 0).unsqueeze(1).expand(-1, K)
    return _tally(torch.where(real_NK, routing.chosen_NK, E), E + 1)[:E]


def _tally(index: Tensor, size: int) -> Tensor:
    """Return how often each number below `size` occurs, in float32; unlike bincount, without a wait."""
    flat = index.flatten()
    counts = torch.zeros(size, dtype=torch.int64, device=flat.device)
    return counts.scatter_add_(0, flat, torch.ones_like(flat)).float()


def moved(bias_E: Tensor, loads_E: Tensor, speed: float) -> Tensor:
    """Return the bias after a step with these loads; loads of nothing leave it as it is."""
    return bias_E + speed * torch.sign(loads_E.mean() - loads_E)
