"""How likely the model holds each token: log-probabilities of the model's own distribution.

They are what the model says before temperature, penalties, biases and grammars, which is what OpenAI's
clients get from vLLM by default (`raw_logprobs`); so an answer's numbers do not depend on how it was drawn.

Letters: N tokens, V words, T tokens of a prompt, C residual width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from danlu.generate.request import Request, Scored

AT_ONCE = 64
"""Tokens of a prompt whose scores are computed together: a vocabulary is wide."""


def scored(logits_NV: Tensor, tokens: Sequence[int], most: int) -> list[Scored]:
    """Return each token's score, and those of the `most` likeliest words in its place."""
    logprobs_NV = logits_NV.float().log_softmax(-1)
    own = [float(row_V[token]) for row_V, token in zip(logprobs_NV, tokens)]
    if not most:
        return [Scored(logprob) for logprob in own]
    best = logprobs_NV.topk(min(most, logprobs_NV.shape[-1]))
    pairs = zip(best.indices.tolist(), best.values.tolist())
    return [Scored(logprob, tuple(zip(*pair))) for logprob, pair in zip(own, pairs)]


def of_chosen(logits_BV: Tensor, rows: Sequence[Request], tokens: Sequence[int]) -> list[Scored | None]:
    """Return the score of each row's token, where the request asked for it."""
    asking = [row for row, request in enumerate(rows) if request.logprobs is not None]
    told: list[Scored | None] = [None] * len(rows)
    if asking:
        most = max(rows[row].logprobs or 0 for row in asking)
        found = scored(logits_BV[asking], [tokens[row] for row in asking], most)
        for row, score in zip(asking, found):
            told[row] = Scored(score.logprob, score.top[: rows[row].logprobs])
    return told


def of_prompt(hidden_TC: Tensor, head: Callable[[Tensor], Tensor], request: Request) -> None:
    """Add the scores of the tokens that follow those just read."""
    following = request.prompt[request.read + 1 : request.read + 1 + len(hidden_TC)]
    for start in range(0, len(following), AT_ONCE):
        tokens = following[start : start + AT_ONCE]
        logits_NV = head(hidden_TC[start : start + len(tokens)])
        request.scores += scored(logits_NV, tokens, request.prompt_logprobs or 0)
