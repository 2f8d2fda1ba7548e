"""Answers: what transformers computes from the files beside what the trainer's own model computes.

Both in float32, whatever the number format of the files: so nothing but the conversion can part them.

    logits    at every token of prompts that reach over the whole vocabulary, of several lengths
    greedy    the next tokens, one after the other, through transformers' cache
    experts   which ones each token went to
    rounding  what the number format itself did to the logits, beside the source's own
    range     the largest activation: float16 would end at 65504
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import psutil
import torch
from torch import Tensor

from convert.checks import traces
from convert.checks.case import CannotCheck, Case, Fault, Faults
from convert.checks.peer import load_peer, transformers
from convert.reading import read_json
from convert.recipe import LARGEST_HALF
from danlu.base.log import say
from danlu.model import layout
from danlu.model.build import build_empty
from danlu.model.decoder import Decoder
from danlu.model.layout import Target
from danlu.model.shape import ModelConfig
from danlu.model.size import count

LIMIT = 1e-4
"""Of logits, as a part of the largest where that is above 1."""
NEXT = 12
"""Tokens that follow each prompt."""
LENGTHS = (1, 7, 40)
SEEN = 3  # tokens that are named where experts differ
LONGEST = 4096
"""No prompt is longer, whatever there is to be tried beyond."""


def prompts(words: int, cfg: ModelConfig) -> list[list[int]]:
    """Return prompts whose ids lie all over the vocabulary, one beyond every border there is."""
    borders = [cfg.sliding_window, cfg.rope_scaling and cfg.rope_scaling.original_max_position_embeddings]
    room = max(1, cfg.max_position_embeddings - NEXT)
    lengths = [*LENGTHS, *(border + 5 for border in borders if border and border + 5 <= LONGEST)]
    lengths = [min(length, room) for length in dict.fromkeys(lengths)]
    # Steps of the golden ratio fall between one another, so few ids already reach everywhere.
    ids = [int(number * 0.6180339887498949 % 1.0 * words) for number in range(sum(lengths))]
    ids[0], ids[-1] = 0, words - 1
    found = []
    for length in lengths:
        found.append(ids[:length])
        ids = ids[length:]
    return found


def following(asked: list[list[int]], cfg: ModelConfig) -> int:
    """Return how many tokens may follow every prompt."""
    return max(1, min(NEXT, cfg.max_position_embeddings - max(map(len, asked))))


def check(case: Case) -> Faults:
    """Yield where answers part."""
    peer = peer_of(case)
    if peer is None:
        say("transformers has no class of its own for this one, so there are no answers to compare")
        case.measured["logits"] = None
        return
    cfg, words = case.recipe.source.cfg, case.recipe.source.tokenizer
    asked = prompts(words.size if words else cfg.vocab_size, cfg)
    need_memory(cfg, asked)
    say(f"comparing answers: {len(asked)} prompts of {', '.join(str(len(one)) for one in asked)} tokens")
    with torch.inference_mode():
        yield from _against_peer(case, peer, asked)


def peer_of(case: Case) -> Path | None:
    """Return the folder transformers reads: the export, or what was brought in; None where it cannot."""
    for folder in (case.recipe.source.folder, case.folder) if case.brought_in else (case.folder,):
        if read_json(folder / "config.json").get("model_type") in transformers().CONFIG_MAPPING:
            return folder
    return None


def need_memory(cfg: ModelConfig, asked: list[list[int]]) -> None:
    """Refuse to begin what would not fit: one model in float32 at a time, and three sides' logits."""
    logits = 4 * cfg.vocab_size * (3 * sum(map(len, asked)) + 4 * max(map(len, asked)))
    wanted, free = count(cfg) * 4 * 1.1 + logits + (1 << 29), psutil.virtual_memory().available
    if wanted > free:
        raise CannotCheck(
            f"comparing answers takes {wanted / 1e9:,.1f} GB of memory, {free / 1e9:,.1f} GB are free",
            "--check tensors, which needs little: every bit and every field, but no words and no answers",
        )


def _against_peer(case: Case, folder: Path, asked: list[list[int]]) -> Faults:
    exact = answers(source_model(case), asked, 0)
    mine = answers(exported_model(case), asked, following(asked, case.recipe.source.cfg))
    gc.collect()
    model, told = load_peer(folder, torch.float32)
    for kind, names in told.items():
        for name in names:
            yield Fault(name, f"transformers calls it {kind}")
    moe = case.recipe.source.cfg.moe
    best = moe.num_experts_per_tok if moe else 0
    theirs = traces.ask_peer(model, asked, [one.greedy for one in mine], best)
    del model
    yield from _logits(case, mine, theirs)
    yield from _greedy(case, mine, theirs)
    yield from _experts(case, mine, theirs)
    case.measured["rounding"] = rounding(exact, mine)
    yield from _range(case, mine)


def source_model(case: Case) -> Decoder:
    """Return the trainer's model with its own weights, an adapter's added, before any cast."""
    return _filled(case, case.recipe.exact)


def exported_model(case: Case) -> Decoder:
    """Return the trainer's model with the weights as they leave."""
    return _filled(case, case.recipe.expected)


def _filled(case: Case, tensor: Callable[[Target], Tensor]) -> Decoder:
    model = build_empty(case.recipe.source.cfg, "cpu", torch.float32)
    state = model.state_dict()
    for target in case.recipe.targets.values():
        if target.pieces:
            found = tensor(target)
            for unit, part, _ in target.pieces:
                place = state[unit.name]
                layout.fill(place if unit.expert is None else place[unit.expert], part, found)
    return model.requires_grad_(False).eval()


def answers(model: Decoder, asked: list[list[int]], more: int) -> list[traces.Trace]:
    """Return what our model answers to each prompt, with so many tokens after it."""
    return [traces.ask(model, prompt, more) for prompt in asked]


def _logits(case: Case, mine: list[traces.Trace], theirs: list[traces.Trace]) -> Faults:
    worst = 0.0
    for one, other in zip(mine, theirs):
        apart = float((one.logits_TV - other.logits_TV).abs().max())
        limit = LIMIT * max(1.0, float(other.logits_TV.abs().max()))
        worst = max(worst, apart)
        if not apart <= limit:
            T = one.logits_TV.shape[0]
            yield Fault("logits", f"part by {apart:.3g} (at most {limit:.3g}) on a prompt of {T} tokens")
    case.measured["logits"] = {"prompts": len(mine), "largest_difference": worst}


def _greedy(case: Case, mine: list[traces.Trace], theirs: list[traces.Trace]) -> Faults:
    equal = 0
    for one, other in zip(mine, theirs):
        step = next((n for n, (a, b) in enumerate(zip(one.greedy, other.greedy)) if a != b), None)
        if step is None:
            equal += 1
        elif one.gaps[step] > 2 * LIMIT * max(1.0, float(one.logits_TV.abs().max())):
            found = f"{other.greedy[step]}, the trainer's {one.greedy[step]}"
            length = one.logits_TV.shape[0]
            yield Fault("greedy tokens", f"part at token {step + 1} after a prompt of {length}: {found}")
    case.measured["greedy"] = {"tokens": len(mine[0].greedy), "equal": f"{equal} of {len(mine)}"}


def _experts(case: Case, mine: list[traces.Trace], theirs: list[traces.Trace]) -> Faults:
    if case.recipe.source.cfg.moe is None:
        return
    compared = parted = 0
    for one, other in zip(mine, theirs):
        for layer, (own, their) in enumerate(zip(one.chosen, other.chosen)):
            both = zip(own.sort(-1)[0].tolist(), their.sort(-1)[0].tolist())
            for token, (a, b) in enumerate(both):
                compared += 1
                if a != b and not traces.is_tie(one.scores[layer][token], a, b):
                    parted += 1
                    if parted <= SEEN:
                        problem = f"token {token} goes to {b}, the trainer's to {a}"
                        yield Fault(f"experts of layer {layer}", problem)
    if not any(other.chosen for other in theirs):
        yield Fault("experts", "transformers shows none of its routers' choices")
    case.measured["experts"] = {"choices_compared": compared, "parted": parted}


def rounding(exact: list[traces.Trace], mine: list[traces.Trace]) -> dict[str, float]:
    """Return what the number format did: to a logit, to the distribution, to the best word."""
    pairs = [(a.logits_TV.log_softmax(-1), b.logits_TV.log_softmax(-1)) for a, b in zip(exact, mine)]
    change = max(float((a.logits_TV - b.logits_TV).abs().max()) for a, b in zip(exact, mine))
    divergence = torch.cat([(p.exp() * (p - q)).sum(-1) for p, q in pairs])
    best = torch.cat([(p.argmax(-1) == q.argmax(-1)).float() for p, q in pairs])
    return {
        "largest_change_of_a_logit": change,
        "mean_divergence_nats": max(0.0, float(divergence.mean())),
        "same_best_word": float(best.mean()),
    }


def _range(case: Case, mine: list[traces.Trace]) -> Faults:
    place, largest = max((one.largest for one in mine), key=lambda found: found[1])
    case.measured["largest_activation"] = {"where": place, "value": largest}
    if case.recipe.dtype == torch.float16 and largest > LARGEST_HALF:
        yield Fault(place, f"reaches {largest:.4g} on the prompts, and float16 ends at {LARGEST_HALF:.0f}")
