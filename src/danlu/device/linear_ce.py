"""Cross-entropy of a linear head, without ever holding the float32 scores of a large vocabulary.

    nll_n = logsumexp_v(h_n · w_v) - h_n · w_label(n)

Scores are formed in pieces, in the number format of the hidden states; sums, logarithms and the head's
gradient are float32. The gradient of the scores, softmax - one-hot, follows one of two plans:

    kept      formed in the forward pass and kept in half precision: three products in all
    formed    again in the backward pass, slice of the vocabulary by slice: four products, almost no
              memory, and each slice of the head's gradient is written once

A small vocabulary is kept, a large one formed again. Either is exact for any gradient that arrives
per token, since that only scales rows. Rows without a label cost nothing on the processor, where
picking the others needs no wait.

Letters: N tokens, n those with a label (or a piece of them), C hidden width, V words (or a slice).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

IGNORE = -100
"""Label of a token that is not supervised."""
PIECE = 16 << 20
"""Bytes of float32 scores formed at once by rows: about what a processor's cache holds."""
SLICE = 48 << 20
"""Bytes of float32 scores formed at once by slices of the vocabulary."""
KEPT = {"cpu": 256 << 20}
"""Bytes of half-precision gradient that may be kept, by device; elsewhere a gigabyte."""


def plain(hidden_NC: Tensor, head_VC: Tensor, labels_N: Tensor, softcap: float | None = None) -> Tensor:
    """Return the same from all scores at once: the oracle."""
    logits_NV = torch.nn.functional.linear(hidden_NC, head_VC.to(hidden_NC.dtype)).float()
    if softcap is not None:
        logits_NV = softcap * torch.tanh(logits_NV / softcap)
    return torch.nn.functional.cross_entropy(logits_NV, labels_N, ignore_index=IGNORE, reduction="none")


class LinearCrossEntropy(torch.autograd.Function):
    """nll_N = f(hidden_NC, head_VC, labels_N), zero where the label is IGNORE; `softcap` bends the scores."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_NC: Tensor,
        head_VC: Tensor,
        labels_N: Tensor,
        kept: bool | None,
        softcap: float | None = None,
    ) -> Tensor:
        with torch.autocast(hidden_NC.device.type, enabled=False):
            rows_n = _supervised(labels_N)
            hidden_nC = hidden_NC if rows_n is None else hidden_NC[rows_n]
            labels_n = labels_N if rows_n is None else labels_N[rows_n]
            low_VC = head_VC.detach().to(hidden_NC.dtype)
            ctx.kept = _may_keep(hidden_nC, len(low_VC)) if kept is None else kept
            ctx.shape, ctx.head_dtype = hidden_NC.shape, head_VC.dtype
            ctx.needs = any(ctx.needs_input_grad[:2])
            ctx.softcap = softcap
            if ctx.kept:
                lse_n, picked_n, grad_nV = _by_rows(hidden_nC, low_VC, labels_n, softcap, ctx.needs)
            else:
                lse_n, picked_n = _by_slices(hidden_nC, low_VC, labels_n, softcap)
                grad_nV = None
            nll_n = (lse_n - picked_n).masked_fill_(labels_n == IGNORE, 0.0)
            if ctx.needs:
                ctx.save_for_backward(hidden_nC, low_VC, labels_n, rows_n, lse_n, grad_nV)
            return nll_n if rows_n is None else nll_n.new_zeros(len(labels_N)).index_copy_(0, rows_n, nll_n)

    @staticmethod
    def backward(ctx: Any, grad_N: Tensor) -> tuple[Tensor | None, ...]:
        hidden_nC, low_VC, labels_n, rows_n, lse_n, grad_nV = ctx.saved_tensors
        with torch.autocast(hidden_nC.device.type, enabled=False):
            upstream_n = (grad_N if rows_n is None else grad_N[rows_n]).masked_fill(labels_n == IGNORE, 0.0)
            # A common factor stays in float32: equal weights, the usual case, then round nothing.
            factor = torch.nn.functional.pad(
                upstream_n.abs(), (0, 1), value=torch.finfo(torch.float32).tiny
            ).max()
            if hidden_nC.dtype is torch.float16:
                factor = factor * 64  # a word's gradient is a sum over its tokens, and float16 ends at 65504
            weight_n1 = (upstream_n / factor).unsqueeze(1)
            weighted_nC = (hidden_nC * weight_n1).to(hidden_nC.dtype)
            head_VC = torch.empty(low_VC.shape, dtype=torch.float32, device=low_VC.device)
            if ctx.kept:
                hidden32_nC = (grad_nV @ low_VC).float()
                head_VC.copy_(grad_nV.t() @ weighted_nC)
            else:
                hidden32_nC = torch.zeros(hidden_nC.shape, dtype=torch.float32, device=hidden_nC.device)
                for part in _slices(hidden_nC, low_VC):
                    grad_nV = _grad_of_slice(hidden_nC, low_VC, labels_n, lse_n, part, ctx.softcap)
                    hidden32_nC += grad_nV @ low_VC[part]
                    head_VC[part] = grad_nV.t() @ weighted_nC
            hidden_grad_nC = (hidden32_nC * (weight_n1 * factor)).to(hidden_nC.dtype)
            if rows_n is not None:
                hidden_grad_nC = hidden_nC.new_zeros(ctx.shape).index_copy_(0, rows_n, hidden_grad_nC)
            return hidden_grad_nC, head_VC.mul_(factor).to(ctx.head_dtype), None, None, None


def _supervised(labels_N: Tensor) -> Tensor | None:
    """Return the rows that have a label, or None where all have one or asking would cost a wait."""
    if labels_N.device.type != "cpu" or torch.compiler.is_compiling():
        return None
    rows_n = (labels_N != IGNORE).nonzero().squeeze(1)
    return None if len(rows_n) == len(labels_N) else rows_n


def _may_keep(hidden_nC: Tensor, V: int) -> bool:
    size = len(hidden_nC) * V * hidden_nC.element_size()
    return size <= KEPT.get(hidden_nC.device.type, 1 << 30)


def _softmax(logits_nV: Tensor, space_2nV: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return (softmax, logsumexp) in float32, formed in `space_2nV` if given: new memory costs time."""
    if logits_nV.device.type == "cpu":  # where softmax is fast and exp and logsumexp are not
        if space_2nV is None:
            space_2nV = torch.empty(2, *logits_nV.shape)
        wide_nV, softmax_nV = space_2nV[:, : len(logits_nV)]
        torch.softmax(wide_nV.copy_(logits_nV), -1, out=softmax_nV)
        return softmax_nV, wide_nV.amax(-1) - softmax_nV.amax(-1).log()
    log_nV = torch.log_softmax(logits_nV, -1, dtype=torch.float32)
    return log_nV.exp(), logits_nV[:, 0].float() - log_nV[:, 0]


def _bent(logits_nV: Tensor, softcap: float | None) -> Tensor:
    """Return scores kept within the cap: c tanh(s / c), whose slope is 1 - (result / c)^2."""
    return logits_nV if softcap is None else logits_nV.float().div_(softcap).tanh_().mul_(softcap)


def _unbent(grad_nV: Tensor, logits_nV: Tensor, softcap: float | None) -> Tensor:
    """Return the gradient before the bend."""
    return grad_nV if softcap is None else grad_nV.mul_(1 - (logits_nV / softcap).square_())


def _by_rows(
    hidden_nC: Tensor, low_VC: Tensor, labels_n: Tensor, softcap: float | None, with_grad: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return (logsumexp, label's score, gradient of the scores), a piece of the rows at a time."""
    n, V = len(hidden_nC), len(low_VC)
    lse_n, picked_n = hidden_nC.new_empty(2, n, dtype=torch.float32)
    grad_nV = hidden_nC.new_empty(n, V) if with_grad else None
    size = min(max(1, PIECE // (4 * V)), max(n, 1))
    space_2nV = torch.empty(2, size, V) if hidden_nC.device.type == "cpu" else None
    for part in _pieces(n, size):
        logits_nV = _bent(hidden_nC[part] @ low_VC.t(), softcap)
        at_n1 = labels_n[part].clamp(min=0).unsqueeze(1)
        softmax_nV, lse_n[part] = _softmax(logits_nV, space_2nV)
        picked_n[part] = logits_nV.gather(1, at_n1).squeeze(1)
        if grad_nV is not None:
            own_nV = softmax_nV.scatter_add_(1, at_n1, softmax_nV.new_full(at_n1.shape, -1.0))
            grad_nV[part] = _unbent(own_nV, logits_nV, softcap)
    return lse_n, picked_n, grad_nV


def _by_slices(
    hidden_nC: Tensor, low_VC: Tensor, labels_n: Tensor, softcap: float | None
) -> tuple[Tensor, Tensor]:
    """Return (logsumexp, label's score), a slice of the vocabulary at a time."""
    lse_n = hidden_nC.new_full((len(hidden_nC),), -torch.inf, dtype=torch.float32)
    picked_n = torch.zeros_like(lse_n)
    for part in _slices(hidden_nC, low_VC):
        logits_nV = _bent(hidden_nC @ low_VC[part].t(), softcap)
        lse_n = torch.logaddexp(lse_n, _softmax(logits_nV)[1])
        at_n1, inside_n = _within(labels_n, part)
        picked_n += logits_nV.gather(1, at_n1).squeeze(1) * inside_n
    return lse_n, picked_n


def _grad_of_slice(
    hidden_nC: Tensor, low_VC: Tensor, labels_n: Tensor, lse_n: Tensor, part: slice, softcap: float | None
) -> Tensor:
    """Return softmax - one-hot over a slice of the vocabulary."""
    logits_nV = _bent(hidden_nC @ low_VC[part].t(), softcap)
    softmax_nV, lse_of_slice_n = _softmax(logits_nV)
    softmax_nV.mul_((lse_of_slice_n - lse_n).exp_().unsqueeze(1))
    at_n1, inside_n = _within(labels_n, part)
    own_nV = softmax_nV.scatter_add_(1, at_n1, -inside_n.float().unsqueeze(1))
    return _unbent(own_nV, logits_nV, softcap).to(hidden_nC.dtype)


def _within(labels_n: Tensor, part: slice) -> tuple[Tensor, Tensor]:
    """Return each label's place in the slice (any place if it has none) and whether it lies there."""
    inside_n = (labels_n >= part.start) & (labels_n < part.stop)
    return (labels_n - part.start).clamp(0, part.stop - part.start - 1).unsqueeze(1), inside_n


def _slices(hidden_nC: Tensor, low_VC: Tensor) -> Iterator[slice]:
    width = max(256, SLICE // (4 * max(1, len(hidden_nC))))
    return _pieces(len(low_VC), width // 64 * 64)


def _pieces(total: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, total)) for start in range(0, total, size))
