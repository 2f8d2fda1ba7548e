"""Choose the next token of every request at once.

The order of operations, per request; a neutral value leaves the logits bit for bit as they were:

    allowed tokens        a mask from outside (a grammar); all others become -inf
    bias                  added to the logits of the words named
    repetition penalty    prompt and output, once a word: positive logits / p, negative * p
    frequency, presence   output only: logit -= frequency * count + presence * (count > 0)
    temperature           logits / t; below 1e-5 the likeliest token is taken and the rest skipped
    top-k, top-p, min-p   each on what the one before left, renormalised
    draw                  one uniform number against the cumulative distribution

Penalties are defined as vLLM defines them, the filters and their order as transformers does. The
uniform number is a hash of the request's seed and of how many tokens it has drawn, so a result
depends on neither batch mates nor device, and there is no generator whose state must be kept.

Letters: B requests, V words of the vocabulary, S of them sorted, R rows for requests.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import torch
from torch import Tensor

from danlu.generate.settings import GREEDY_BELOW, Sampling

__all__ = ["GREEDY_BELOW", "Sampler", "Sampling", "draw", "min_p", "penalise", "top_k", "top_p", "uniform"]

NEVER = float("-inf")
NUCLEUS = 1024
"""Words among which a nucleus is sought first."""
_MASK64 = (1 << 64) - 1


def uniform(seed: int, index: int) -> float:
    """Return draw number `index` of `seed`, in [0, 1), as a multiple of 2^-24 (exact in float32).

    SplitMix64 (Steele, Lea and Flood 2014): its finaliser applied to a counter, twice, so that
    neighbouring seeds share nothing.
    """
    return (_mix(_mix(seed & _MASK64) + index) >> 40) / (1 << 24)


def _mix(x: int) -> int:
    x = (x + 0x9E3779B97F4A7C15) & _MASK64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK64
    return x ^ (x >> 31)


def penalise(logits_BV: Tensor, prompt_BV: Tensor, counts_BV: Tensor, chosen: Sequence[Sampling]) -> Tensor:
    """Return logits after the repetition, frequency and presence penalties.

    `prompt_BV` says which words the prompt holds, `counts_BV` how often the answer holds each.
    """
    repetition = _column(logits_BV, [s.repetition_penalty for s in chosen])
    frequency = _column(logits_BV, [s.frequency_penalty for s in chosen])
    presence = _column(logits_BV, [s.presence_penalty for s in chosen])
    present_BV = counts_BV > 0
    scaled_BV = torch.where(logits_BV > 0, logits_BV / repetition, logits_BV * repetition)
    logits_BV = torch.where(prompt_BV | present_BV, scaled_BV, logits_BV)
    return logits_BV - frequency * counts_BV - presence * present_BV


def biased(logits_BV: Tensor, chosen: Sequence[Sampling]) -> Tensor:
    """Return logits with each request's bias added."""
    rows = [row for row, s in enumerate(chosen) for _ in s.logit_bias]
    words = [word for s in chosen for word in s.logit_bias]
    values = [value for s in chosen for value in s.logit_bias.values()]
    places = tuple(torch.tensor(numbers, device=logits_BV.device) for numbers in (rows, words))
    added = torch.tensor(values, dtype=logits_BV.dtype, device=logits_BV.device)
    return logits_BV.index_put(places, added, accumulate=True)


def top_k(logits_BV: Tensor, chosen: Sequence[Sampling]) -> Tensor:
    """Return logits with all but each row's k largest at -inf; a tie with the k-th stays."""
    words = logits_BV.shape[-1]
    k_B = [min(s.top_k or words, words) for s in chosen]
    most = max((k for k in k_B if k < words), default=0)
    if most == 0:
        return logits_BV
    best = logits_BV.topk(most).values
    last = best.gather(-1, _column(logits_BV, [min(k, most) - 1 for k in k_B], torch.int64))
    keeps_all = _column(logits_BV, [k == words for k in k_B], torch.bool)
    return logits_BV.masked_fill((logits_BV < last) & ~keeps_all, NEVER)


def top_p(logits_BV: Tensor, chosen: Sequence[Sampling]) -> Tensor:
    """Return logits with those beyond the nucleus at -inf (Holtzman et al. 2020).

    A word stays while the words before it, likeliest first, hold less than `top_p` together.
    """
    p = [s.top_p for s in chosen]
    if all(x == 1.0 for x in p):
        return logits_BV
    total = logits_BV.logsumexp(-1, keepdim=True)
    # The sum may round to 1 before the last word: a row that wants everything says so itself.
    limit = _column(logits_BV, [x if x < 1.0 else 2.0 for x in p])
    left = max(int((logits_BV > NEVER).sum(-1).max()), 1)
    # The nucleus is mostly small; sorting a whole large vocabulary costs ten times as much.
    for size in (min(NUCLEUS, left), left):
        sorted_BS, order_BS = logits_BV.topk(size)
        probs_BS = (sorted_BS - total).exp()
        before_BS = probs_BS.cumsum(-1) - probs_BS
        if (before_BS[:, -1:] >= limit).all():
            break
    kept_BS = sorted_BS.masked_fill(before_BS >= limit, NEVER)
    return torch.full_like(logits_BV, NEVER).scatter_(-1, order_BS, kept_BS)


def min_p(logits_BV: Tensor, chosen: Sequence[Sampling]) -> Tensor:
    """Return logits with words less than `min_p` times as probable as the likeliest at -inf."""
    if all(s.min_p == 0.0 for s in chosen):
        return logits_BV
    probs_BV = logits_BV.softmax(-1)
    least = probs_BV.amax(-1, keepdim=True) * _column(logits_BV, [s.min_p for s in chosen])
    return logits_BV.masked_fill(probs_BV < least, NEVER)


def draw(logits_BV: Tensor, uniform_B: Sequence[float]) -> Tensor:
    """Return one word a row: the first whose cumulative probability exceeds the uniform number."""
    probs_BV = logits_BV.softmax(-1)
    total_BV = probs_BV.cumsum(-1)
    beyond_BV = total_BV > _column(logits_BV, uniform_B) * total_BV[:, -1:]
    # A parallel scan may step up, by rounding, on a word of no probability: that one never counts.
    beyond_BV &= probs_BV > 0
    return torch.where(beyond_BV.any(-1), beyond_BV.int().argmax(-1), probs_BV.argmax(-1))


def _column(like: Tensor, values: Sequence[float], dtype: torch.dtype | None = None) -> Tensor:
    return torch.tensor(values, dtype=dtype or like.dtype, device=like.device)[:, None]


class Sampler:
    """What choosing remembers of each request: its settings, its seed, the words it has seen.

    Rows are the cache's: a request is put in a row, may move to another, and rows 0..n-1 are busy.
    """

    def __init__(self, rows: int) -> None:
        self.chosen: list[Sampling] = [Sampling()] * rows
        self.seeds = [0] * rows
        self.drawn = [0] * rows
        self._prompts: list[list[int]] = [[]] * rows
        self._prompt_RV: Tensor | None = None  # two tables, made when the first penalty is asked for
        self._counts_RV: Tensor | None = None

    def put(self, row: int, sampling: Sampling, prompt: Sequence[int]) -> None:
        """Begin a request in `row`."""
        self.chosen[row] = sampling
        self.seeds[row] = secrets.randbits(63) if sampling.seed is None else sampling.seed
        self.drawn[row] = 0
        self._prompts[row] = list(prompt) if sampling.penalises else []
        if self._prompt_RV is not None and self._counts_RV is not None:
            self._remember(row)

    def move(self, source: int, target: int) -> None:
        """Let the request in `source` go on in `target`."""
        self.chosen[target] = self.chosen[source]
        self.seeds[target] = self.seeds[source]
        self.drawn[target] = self.drawn[source]
        self._prompts[target] = self._prompts[source]
        for table in (self._prompt_RV, self._counts_RV):
            if table is not None:
                table[target] = table[source]

    def choose(self, logits_BV: Tensor, first: int = 0, allowed_BV: Tensor | None = None) -> list[int]:
        """Return the next token of rows first..first+B-1, from their logits."""
        rows = slice(first, first + len(logits_BV))
        chosen = self.chosen[rows]
        logits_BV = logits_BV.float()
        if allowed_BV is not None:
            logits_BV = logits_BV.masked_fill(~allowed_BV, NEVER)
        if any(s.logit_bias for s in chosen):
            logits_BV = biased(logits_BV, chosen)
        penalised = any(s.penalises for s in chosen)
        if penalised:
            prompt_RV, counts_RV = self._tables(logits_BV)
            logits_BV = penalise(logits_BV, prompt_RV[rows], counts_RV[rows], chosen)
        best_B = logits_BV.argmax(-1)
        if not all(s.greedy for s in chosen):
            best_B = self._draw(logits_BV, best_B, rows)
        if penalised:
            counts_RV[rows].scatter_add_(
                -1, best_B[:, None], torch.ones_like(best_B, dtype=counts_RV.dtype)[:, None]
            )
        return best_B.tolist()

    def _draw(self, logits_BV: Tensor, best_B: Tensor, rows: slice) -> Tensor:
        chosen = self.chosen[rows]
        numbers = [uniform(seed, index) for seed, index in zip(self.seeds[rows], self.drawn[rows])]
        for row in range(*rows.indices(len(self.drawn))):
            self.drawn[row] += 1
        logits_BV = logits_BV / _column(logits_BV, [1.0 if s.greedy else s.temperature for s in chosen])
        for keep in (top_k, top_p, min_p):
            logits_BV = keep(logits_BV, chosen)
        greedy_B = torch.tensor([s.greedy for s in chosen], device=logits_BV.device)
        return torch.where(greedy_B, best_B, draw(logits_BV, numbers))

    def _tables(self, like: Tensor) -> tuple[Tensor, Tensor]:
        if self._prompt_RV is None or self._counts_RV is None:
            shape = len(self.chosen), like.shape[-1]
            self._prompt_RV = torch.zeros(shape, dtype=torch.bool, device=like.device)
            self._counts_RV = torch.zeros(shape, device=like.device)
            for row in range(len(self.chosen)):
                self._remember(row)
        return self._prompt_RV, self._counts_RV

    def _remember(self, row: int) -> None:
        assert self._prompt_RV is not None and self._counts_RV is not None
        self._prompt_RV[row] = False
        self._counts_RV[row] = 0
        if self._prompts[row]:
            self._prompt_RV[row, torch.tensor(self._prompts[row], device=self._prompt_RV.device)] = True
