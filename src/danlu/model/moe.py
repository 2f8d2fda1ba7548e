"""A mixture of experts: a router sends each token to a few of them, nobody is turned away.

    scores p = softmax(W x)            or sigmoid, each expert by itself
    chosen   the k highest             of p + bias, where a bias balances
    shares   p of the chosen           over their sum, if so configured
    y        Σ share · expert(x) + shared(x)

Tokens are put in order by expert, so that each expert is one run of rows and all runs are one grouped
matrix product. `dispatch` is a seam: expert parallelism puts its own there.

The block returns the scores and choices instead of a loss. Balance is computed from them outside the
block (`balance.py`), so recomputing or compiling a block can neither lose nor double it.

Letters: N tokens, K experts a token goes to, E experts, C residual width, I expert width, R rows of all
runs, filled up.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from danlu.device import ops
from danlu.model.mlp import ACTIVATIONS, Mlp, gated
from danlu.model.shape import ModelConfig, MoE


class Routing(NamedTuple):
    """What a router did."""

    scores_NE: Tensor
    """Probabilities, adding up to one over the experts."""
    chosen_NK: Tensor
    """Numbers of the experts each token went to."""


class Router(nn.Module):
    """Chooses each token's experts, in float32: a rounded score is another choice."""

    e_score_correction_bias: Tensor

    def __init__(self, cfg: ModelConfig, moe: MoE) -> None:
        super().__init__()
        self.moe = moe
        self.weight = nn.Parameter(torch.empty(moe.num_experts, cfg.hidden_size))
        if moe.router == "sigmoid":
            self.register_buffer("e_score_correction_bias", torch.zeros(moe.num_experts))

    def forward(self, x_NC: Tensor) -> tuple[Tensor, Routing]:
        """Return (shares_NK, routing)."""
        moe = self.moe
        with torch.autocast(x_NC.device.type, enabled=False):
            logits_NE = F.linear(x_NC.float(), self.weight.float())
        if moe.router == "softmax":
            scores_NE = logits_NE.softmax(-1)
            chosen_NK = _best(scores_NE, moe, best=1).topk(moe.num_experts_per_tok, dim=-1)[1]
            shares_NK = scores_NE.gather(1, chosen_NK)
        else:
            scores_NE = logits_NE.sigmoid()
            biased_NE = scores_NE.detach() + self.e_score_correction_bias
            chosen_NK = _best(biased_NE, moe, best=2).topk(moe.num_experts_per_tok, dim=-1)[1]
            shares_NK = scores_NE.gather(1, chosen_NK)
            scores_NE = scores_NE / scores_NE.sum(-1, keepdim=True)
        if moe.norm_topk_prob:
            shares_NK = shares_NK / (shares_NK.sum(-1, keepdim=True) + 1e-20)
        return shares_NK * moe.routed_scaling_factor, Routing(scores_NE, chosen_NK)


def _best(scores_NE: Tensor, moe: MoE, best: int) -> Tensor:
    """Return scores, minus infinity outside the groups whose `best` experts add up highest."""
    if moe.n_group == 1:
        return scores_NE
    grouped_NGe = scores_NE.detach().unflatten(1, (moe.n_group, -1))
    group_NG = grouped_NGe.topk(min(best, grouped_NGe.shape[-1]), dim=-1)[0].sum(-1)
    chosen_Ng = group_NG.topk(moe.topk_group, dim=-1)[1]
    outside_NG = torch.ones_like(group_NG, dtype=torch.bool).scatter(1, chosen_Ng, False)
    return grouped_NGe.masked_fill(outside_NG.unsqueeze(-1), -torch.inf).flatten(1)


class Experts(nn.Module):
    """All experts' weights in one stack each; rows come sorted by expert."""

    def __init__(self, cfg: ModelConfig, moe: MoE) -> None:
        super().__init__()
        self.activation = cfg.activation
        self.gated = cfg.gated
        self.num_experts = moe.num_experts
        C, width = cfg.hidden_size, moe.moe_intermediate_size
        self.gate_up_proj = nn.Parameter(torch.empty(moe.num_experts, (2 if cfg.gated else 1) * width, C))
        self.down_proj = nn.Parameter(torch.empty(moe.num_experts, C, width))

    def forward(self, x_RC: Tensor, counts_E: Tensor) -> Tensor:
        return ops.grouped_matmul(self.inner(x_RC, counts_E), self.down_proj.to(x_RC.dtype), counts_E)

    def inner(self, x_RC: Tensor, counts_E: Tensor) -> Tensor:
        """Return what the last matrix multiplies."""
        inner_RI = ops.grouped_matmul(x_RC, self.gate_up_proj.to(x_RC.dtype), counts_E)
        if self.gated:
            return gated(self.activation, *inner_RI.chunk(2, dim=-1))
        return ACTIVATIONS[self.activation](inner_RI)


def dispatch(x_NC: Tensor, chosen_NK: Tensor, shares_NK: Tensor, experts: Experts) -> Tensor:
    """Return each token's answer: its experts' answers, weighed."""
    order = sort_by_expert(chosen_NK, experts.num_experts, ops.row_multiple(x_NC))
    answers_RC = experts(Spread.apply(x_NC, order.row_NK, order.copy_R), order.counts_E)
    return Gather.apply(answers_RC, shares_NK, order.row_NK, order.copy_R)


class Order(NamedTuple):
    """Where each token's copies stand once they are sorted by expert."""

    row_NK: Tensor
    """Row of each token's copy."""
    copy_R: Tensor
    """Which copy, n * K + k, stands in each row; a row that only fills up has one past the last."""
    counts_E: Tensor
    """Rows of each expert, filled up."""


def sort_by_expert(chosen_NK: Tensor, E: int, multiple: int) -> Order:
    """Return the order of the rows; each expert's run is filled up to a multiple of `multiple` rows.

    The number of rows is the largest that any choice needs, so that shapes never depend on data.
    """
    chosen_M = chosen_NK.flatten()
    M = chosen_M.shape[0]
    own_E = torch.arange(E, device=chosen_M.device)
    counts_E = (chosen_M.unsqueeze(1) == own_E).sum(0)
    filled_E = (counts_E + multiple - 1) // multiple * multiple
    sorted_M = chosen_M.argsort(stable=True)
    shift_E = (filled_E.cumsum(0) - filled_E) - (counts_E.cumsum(0) - counts_E)
    row_M = torch.arange(M, device=chosen_M.device) + shift_E[chosen_M[sorted_M]]
    copy_R = chosen_M.new_full((M + E * (multiple - 1),), M).scatter(0, row_M, sorted_M)
    row_NK = torch.empty_like(chosen_M).scatter(0, sorted_M, row_M).view_as(chosen_NK)
    return Order(row_NK, copy_R, filled_E)


class Spread(torch.autograd.Function):
    """Copy each token to the rows of its experts. Filling rows hold anything: nobody reads their answers."""

    @staticmethod
    def forward(ctx: Any, x_NC: Tensor, row_NK: Tensor, copy_R: Tensor) -> Tensor:
        ctx.save_for_backward(row_NK)
        return x_NC[(copy_R // row_NK.shape[1]).clamp(max=x_NC.shape[0] - 1)]

    @staticmethod
    def backward(ctx: Any, grad_RC: Tensor) -> tuple[Tensor | None, ...]:
        (row_NK,) = ctx.saved_tensors
        return grad_RC[row_NK].sum(1), None, None


class Gather(torch.autograd.Function):
    """Add up each token's answers, each times its share; in order, which adding in place would not be."""

    @staticmethod
    def forward(ctx: Any, answers_RC: Tensor, shares_NK: Tensor, row_NK: Tensor, copy_R: Tensor) -> Tensor:
        ctx.save_for_backward(answers_RC, shares_NK, row_NK, copy_R)
        return (answers_RC[row_NK] * shares_NK.unsqueeze(-1)).sum(1).to(answers_RC.dtype)

    @staticmethod
    def backward(ctx: Any, grad_NC: Tensor) -> tuple[Tensor | None, ...]:
        answers_RC, shares_NK, row_NK, copy_R = ctx.saved_tensors
        N, K = shares_NK.shape
        shares_R = F.pad(shares_NK.flatten(), (0, 1))[copy_R]  # zero for rows that only fill up
        token_R = (copy_R // K).clamp(max=N - 1)
        grad_RC = (grad_NC[token_R] * shares_R.unsqueeze(1)).to(answers_RC.dtype)
        grad_shares_NK = (grad_NC.unsqueeze(1).float() * answers_RC[row_NK].float()).sum(-1)
        return grad_RC, grad_shares_NK.to(shares_NK.dtype), None, None


class MoeMlp(nn.Module):
    """Router, experts and, where there are any, shared experts."""

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        moe = cfg.moe
        assert moe
        self.gate = Router(cfg, moe)
        self.experts = Experts(cfg, moe)
        self.dispatch = dispatch
        self.shared_expert = Mlp(cfg, moe.shared_width, bias=False) if moe.num_shared_experts else None
        gated = moe.num_shared_experts and moe.shared_gated
        self.shared_expert_gate = nn.Linear(cfg.hidden_size, 1, bias=False) if gated else None

    def forward(self, x_BTC: Tensor) -> tuple[Tensor, Routing]:
        x_NC = x_BTC.flatten(0, 1)
        shares_NK, routing = self.gate(x_NC)
        y_NC = self.dispatch(x_NC, routing.chosen_NK, shares_NK, self.experts)
        if self.shared_expert is not None:
            shared_NC = self.shared_expert(x_NC)
            if self.shared_expert_gate is not None:
                shared_NC = torch.sigmoid(self.shared_expert_gate(x_NC)) * shared_NC
            y_NC = y_NC + shared_NC
        return y_NC.view_as(x_BTC), routing
