"""What a model does with a prompt: its logits, its next tokens, its experts, its largest activation.

Letters: T tokens, V words, E experts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from danlu.device import ops
from danlu.model.decoder import Decoder
from danlu.model.moe import Experts, MoeMlp

TIE = 1e-5  # scores nearer than this may go either way


@dataclass
class Trace:
    """One prompt's."""

    logits_TV: Tensor
    greedy: list[int] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    """By how much the best word was ahead of the next, at each token of `greedy`."""
    logprobs: list[float] = field(default_factory=list)
    """Of each token of `greedy`."""
    chosen: list[Tensor] = field(default_factory=list)
    """Each layer's experts, token by token."""
    scores: list[Tensor] = field(default_factory=list)
    """Each layer's scores of all experts."""
    largest: tuple[str, float] = ("", 0.0)


def ask(model: Decoder, prompt: list[int], more: int) -> Trace:
    """Return what our model does with a prompt, and its next tokens, each from a whole forward."""
    watched = _Watched(model)
    with watched:
        logits_TV = _logits(model, prompt)
    trace = Trace(logits_TV, chosen=watched.chosen, scores=watched.scores, largest=watched.largest)
    read, last_V = list(prompt), logits_TV[-1]
    for _ in range(more):
        best = last_V.topk(2)
        trace.greedy.append(int(best.indices[0]))
        trace.gaps.append(float(best.values[0] - best.values[1]))
        trace.logprobs.append(float(best.values[0] - last_V.logsumexp(-1)))
        read.append(trace.greedy[-1])
        last_V = _logits(model, read, last=True)[-1]
    return trace


def _logits(model: Decoder, tokens: list[int], last: bool = False) -> Tensor:
    hidden_TC = model(torch.tensor([tokens])).hidden[0]
    return model.logits(hidden_TC[-1:] if last else hidden_TC).float()


def ask_peer(model: Any, asked: list[list[int]], greedy: list[list[int]], best: int) -> list[Trace]:
    """Return what transformers' model does with the same prompts; each token goes to `best` experts."""
    traces = []
    for prompt, tokens in zip(asked, greedy):
        chosen: list[Tensor] = []
        hooks = _watch_choices(model, chosen, len(prompt), best)
        traces.append(Trace(model(torch.tensor([prompt]), use_cache=False).logits[0].float(), chosen=chosen))
        for hook in hooks:
            hook.remove()
        traces[-1].greedy = _peer_greedy(model, prompt, len(tokens))
    return traces


def _watch_choices(model: Any, chosen: list[Tensor], T: int, best: int) -> list[Any]:
    """Keep which experts are chosen: transformers 5 tells them to its stack, 4 has but a router's answer."""

    def told(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        chosen.append(given[1].detach().view(T, -1))

    def answered(module: nn.Module, given: Any, answer: Any) -> None:
        whole = [one for one in answer if not one.is_floating_point()] if isinstance(answer, tuple) else []
        chosen.append((whole[0] if whole else answer.topk(best, dim=-1)[1]).detach().view(T, -1))

    named = dict(model.named_modules())
    hooks = []
    for name in [name for name in named if name.endswith(".experts")]:
        if isinstance(named[name], nn.ModuleList):
            router = named[name.removesuffix("experts") + "gate"]
            hooks.append(router.register_forward_hook(answered))
        else:
            hooks.append(named[name].register_forward_pre_hook(told))
    return hooks


def _peer_greedy(model: Any, prompt: list[int], count: int) -> list[int]:
    """Return the next tokens, token by token through the model's own cache."""
    found: list[int] = []
    given, cache = torch.tensor([prompt]), None
    for _ in range(count):
        output = model(given, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        found.append(int(output.logits[0, -1].argmax()))
        given = torch.tensor([found[-1:]])
    return found


def is_tie(scores_E: Tensor, one: list[int], other: list[int]) -> bool:
    """Return whether two choices differ only in experts whose scores are the same but for rounding."""
    apart = sorted(set(one) ^ set(other))
    values = scores_E[apart]
    return len(one) == len(other) and float(values.max() - values.min()) < TIE


class _Watched:
    """A model whose every module tells what goes in and out."""

    def __init__(self, model: Decoder) -> None:
        self.model = model
        self.chosen: list[Tensor] = []
        self.scores: list[Tensor] = []
        self.largest = ("", 0.0)

    def __enter__(self) -> _Watched:
        named = [(name, module) for name, module in self.model.named_modules() if name]
        self.hooks = [module.register_forward_hook(self._told(name)) for name, module in named]
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def _told(self, name: str) -> Any:
        def hook(module: nn.Module, given: Any, answer: Any) -> None:
            if isinstance(module, MoeMlp):
                self.chosen.append(answer[1].chosen_NK)
                self.scores.append(answer[1].scores_NE)
            if isinstance(module, Experts):
                self._keep(name, *_inside(module, *given))
            else:
                self._keep(name, *given, *(answer if isinstance(answer, tuple) else (answer,)))

        return hook

    def _keep(self, name: str, *values: Any) -> None:
        for value in values:
            if isinstance(value, Tensor) and value.is_floating_point() and value.numel():
                largest = float(value.abs().max())
                if not largest <= self.largest[1]:
                    self.largest = (name, largest)


def _inside(experts: Experts, x_RC: Tensor, counts_E: Tensor) -> list[Tensor]:
    """Return what goes into an expert's last matrix and what comes out; rows past all runs hold anything."""
    x_RC = x_RC[: int(counts_E.sum())]
    inner_RI = experts.inner(x_RC, counts_E)
    return [inner_RI, ops.grouped_matmul(inner_RI, experts.down_proj, counts_E)]
