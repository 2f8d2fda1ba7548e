"""Comparing one of our models with another that should be the same: logits, gradients, greedy answers.

A random model has weights of the std asked for, and norms and biases apart from one and zero by as much,
so that forgetting one shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from danlu.generate.engine import complete
from danlu.generate.sample import Sampling
from danlu.model import weights
from danlu.model.build import build_empty
from danlu.model.config import read_hf
from danlu.model.decoder import Decoder
from danlu.model.families import Family
from danlu.model.families.family import Part
from danlu.tokenizer.tokenizer import Tokenizer
from model_shapes import gradients, loss

LIMITS = {0.02: (1e-5, 1e-5), 0.2: (2e-5, 1e-4)}
"""By std: how far logits may be apart, and gradients, as a part of the largest."""
NOTHING = 1e-6
"""Of the largest gradient of all: what is below on both sides is rounding alone, as is a router's gradient
where its one expert always has the share one."""
TEXT, ANSWER = 61, 12
PROMPTS = (13, 27, 40)
"""Whose answers end below, cross and begin beyond the 32 tokens that stretched positions were trained on."""
TOKENIZER = Tokenizer.load("starter")


def tokens(words: int, rows: int = 2, length: int = TEXT) -> Tensor:
    return torch.randint(0, words, (rows, length), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def scatter(named: Mapping[str, Tensor], std: float, seed: int = 0) -> None:
    """Draw matrices from a normal; move vectors from where they are by one."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in named.values():
        drawn = torch.empty_like(tensor).normal_(0.0, std, generator=generator)
        tensor.copy_(drawn if tensor.dim() > 1 else tensor + drawn)


def read(folder: Path) -> Decoder:
    made = build_empty(read_hf(folder))
    weights.load(folder, made)
    return made.eval()


def logits(ours: Decoder, tokens_BT: Tensor) -> Tensor:
    return ours.logits(ours(tokens_BT).hidden)


def farthest(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).detach().abs().max())


def nll(logits_BTV: Tensor, tokens_BT: Tensor) -> Tensor:
    return F.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), tokens_BT[:, 1:].flatten(), reduction="sum")


def gradient_gap(
    ours: Decoder, tokens_BT: Tensor, theirs: Mapping[str, Tensor], family: Family
) -> tuple[float, str]:
    """Return how far gradients of the same loss are apart, as a part of each tensor's largest; and where."""
    nothing = NOTHING * max(float(gradient.abs().max()) for gradient in theirs.values())
    worst = (0.0, "")
    for name, own in gradients(loss(ours, tokens_BT)[0], ours).items():
        parts = list(family.parts(name, ours.cfg))
        if any(part.name not in theirs for part in parts):
            parts = [Part(name)]  # transformers 5 names and stacks experts as we do
        for part in parts:
            whole, mine = theirs[part.name] * part.factor, part.of(own)
            other = part.fused.of(whole).reshape(mine.shape) if part.fused else whole
            largest = max(float(whole.abs().max()), float(mine.abs().max()))
            if largest > nothing:
                worst = max(worst, (farthest(mine, other) / float(whole.abs().max()), part.name))
    return worst


def answers_alike(ours: Decoder, theirs: Callable[[list[int]], list[int]], limit: float) -> None:
    """Check that cached answers are theirs, token by token; they may part only between words that tie."""
    rows = tokens(ours.cfg.vocab_size, len(PROMPTS)).tolist()
    prompts = [row[:length] for row, length in zip(rows, PROMPTS)]
    greedy = Sampling(temperature=0.0, max_tokens=ANSWER)
    for prompt, given in zip(prompts, complete(ours, TOKENIZER, prompts, greedy, ends=())):
        own, wanted = given.tokens, theirs(prompt)
        assert len(own) == ANSWER
        if own != wanted:
            same = next(at for at, pair in enumerate(zip(own, wanted)) if pair[0] != pair[1])
            first, second = logits(ours, torch.tensor([prompt + own[:same]]))[0, -1].topk(2)[0].tolist()
            assert first - second <= 2 * limit, f"{own} is not {wanted}"


def named_gradients(theirs: nn.Module) -> dict[str, Tensor]:
    found: dict[str, Any] = {name: tensor.grad for name, tensor in theirs.named_parameters()}
    return {name: gradient for name, gradient in found.items() if gradient is not None}
