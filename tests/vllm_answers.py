"""Comparing a real vLLM with our own decoder, on any folder of finished weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from convert.vllm_side import Answer
from danlu.generate.engine import complete
from danlu.generate.load import load_model
from danlu.generate.sample import Sampling


class Own(NamedTuple):
    """What our decoder says: greedy tokens, and the log-probability of every token but a row's first."""

    tokens: list[list[int]]
    logprobs: list[list[float]]


@torch.no_grad()
def own(folder: str | Path, prompts: Sequence[Sequence[int]], max_tokens: int) -> Own:
    """Return what our decoder answers in fp32, no answer ending early."""
    model, tokenizer = load_model(folder, "cpu", "float32")
    answers = complete(model, tokenizer, prompts, Sampling(temperature=0.0, max_tokens=max_tokens), ends=())
    tokens = [answer.tokens for answer in answers]
    return Own(tokens, [logprobs(model, [*read, *said]) for read, said in zip(prompts, tokens)])


def logprobs(model, row: Sequence[int]) -> list[float]:
    """Return the log-probability of each token after those before it."""
    tokens_1T = torch.tensor([row])
    all_1TV = model.logits(model(tokens_1T).hidden).log_softmax(-1)
    return all_1TV[0, :-1].gather(-1, tokens_1T[0, 1:, None])[:, 0].tolist()


def furthest(answer: Answer, ours: Own) -> float:
    """Return the largest difference between two log-probabilities of the same token, read or said."""
    theirs = [read + said for read, said in zip(answer.prompt_logprobs, answer.logprobs)]
    assert [len(row) for row in theirs] == [len(row) for row in ours.logprobs]
    return max(abs(a - b) for row, other in zip(theirs, ours.logprobs) for a, b in zip(row, other))
