"""vLLM: real vLLM reads the files and answers; greedy tokens and log-probabilities beside the trainer's."""

from __future__ import annotations

import math

import torch

from convert.checks.case import CannotCheck, Case, Fault, Faults
from convert.checks.logits import answers, exported_model, following, prompts
from convert.vllm_side import Job, ask
from danlu.base.errors import UserError

LIMIT = 1e-3
"""Of a token's log-probability."""
TIE = 1e-3
"""Words whose logits are nearer than this may come either way."""


def check(case: Case) -> Faults:
    """Yield where vLLM, in float32, answers otherwise than the trainer."""
    cfg, words = case.recipe.source.cfg, case.recipe.source.tokenizer
    asked = prompts(words.size if words else cfg.vocab_size, cfg)
    more = following(asked, cfg)
    with torch.inference_mode():
        mine = answers(exported_model(case), asked, more)
    try:
        (theirs,) = ask([Job(case.folder, asked, max_tokens=more)])
    except UserError as error:
        raise CannotCheck(error.problem, f"{error.hint}; or --check logits") from None
    worst, equal = 0.0, 0
    for one, tokens, logprobs in zip(mine, theirs.tokens, theirs.logprobs):
        if len(tokens) != len(one.greedy):
            yield Fault("vLLM's tokens", f"are {len(tokens)}, {len(one.greedy)} were asked for")
        step = next((n for n, (a, b) in enumerate(zip(one.greedy, tokens)) if a != b), None)
        equal += step is None
        same = zip(one.logprobs[:step], logprobs)
        apart = max((abs(a - b) if a == a and b == b else math.inf for a, b in same), default=0.0)
        worst = max(worst, apart)
        length = one.logits_TV.shape[0]
        if apart > LIMIT:
            yield Fault("vLLM's log-probabilities", f"part by {apart:.3g} after a prompt of {length} tokens")
        if step is not None and one.gaps[step] > TIE:
            found = f"{tokens[step]}, the trainer's {one.greedy[step]}"
            yield Fault("vLLM's tokens", f"part at token {step + 1} after a prompt of {length}: {found}")
    case.measured["vllm"] = {"equal": f"{equal} of {len(mine)}", "largest_difference": worst}
