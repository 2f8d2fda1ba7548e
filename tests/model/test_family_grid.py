"""Every family in awkward shapes, both ways: transformers' own models read here, and ours read there.

Wherever a class of theirs has torch's attention (sdpa), it is compared with that, since that is what runs
unless somebody asks otherwise, and what ours is made of: both then round alike, while their other path
(eager) sums in another order. Falcon with slopes has no choice: eager adds them twice there.
"""

from __future__ import annotations

import copy

import pytest
import torch

from danlu.model import weights
from danlu.model.decoder import Decoder
from danlu.model.families import Family, choose, get
from danlu.model.layout import InMemory
from model_grid import GRID, STRETCHED, stretched
from model_oracle import (
    ANSWER,
    LIMITS,
    TEXT,
    answers_alike,
    farthest,
    gradient_gap,
    logits,
    named_gradients,
    nll,
    read,
    scatter,
    tokens,
)
from model_pieces import WORDS, Shape

transformers = pytest.importorskip("transformers")

EAGER = {"bloom", "gemma2", "gpt_neo"}
"""Whose classes have no other attention."""
CASES = [
    pytest.param(family, shape, id=f"{family}, {name}")
    for family in GRID
    for name, shape in GRID[family].items()
]
TOKENS_BT = tokens(WORDS)
WRONG = ("missing_keys", "unexpected_keys", "mismatched_keys")


def published(family: str, shape: Shape, std: float) -> transformers.PreTrainedModel:
    """Return a random model of transformers' own class."""
    cfg = transformers.AutoConfig.for_model(family, **copy.deepcopy(shape))
    how = "eager" if family in EAGER else "sdpa"
    theirs = transformers.AutoModelForCausalLM.from_config(cfg, attn_implementation=how)
    biases = {name: tensor for name, tensor in theirs.named_buffers() if name.endswith("correction_bias")}
    scatter(dict(theirs.named_parameters()) | biases, std)
    theirs.get_input_embeddings().padding_idx = None  # else the padding token's row has no gradient
    return theirs.eval()


def reopened(folder, family: Family) -> transformers.PreTrainedModel:
    how = "eager" if family.model_type in EAGER else "sdpa"
    theirs, told = transformers.AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True, attn_implementation=how
    )
    assert not any(told[key] for key in WRONG), told
    assert type(theirs).__name__ == family.architecture
    return theirs.eval()


def written_as(family: Family, ours: Decoder, folder) -> transformers.PreTrainedModel:
    """Return what transformers makes of our model, written as one of this family."""
    folder.mkdir()
    weights.save_as(family, InMemory(ours.state_dict()), ours.cfg, folder, lambda target: torch.float32)
    kind = {"architectures": [family.architecture], "model_type": family.model_type}
    weights.write_config(folder, kind | family.to_hf(ours.cfg))
    return reopened(folder, family)


@pytest.mark.parametrize("std", LIMITS)
@pytest.mark.parametrize("family, shape", CASES)
def test_what_transformers_writes_we_read_and_what_we_write_it_reads(family, shape, std, tmp_path):
    limit, part = LIMITS[std]
    theirs = published(family, shape, std)
    theirs.save_pretrained(tmp_path)
    ours = read(tmp_path)
    theirs_BTV = theirs(TOKENS_BT).logits
    assert farthest(logits(ours, TOKENS_BT), theirs_BTV) <= limit
    nll(theirs_BTV, TOKENS_BT).backward()
    gap, where = gradient_gap(ours, TOKENS_BT, named_gradients(theirs), get(family))
    assert gap <= part, where
    assert not get(family).why_not(ours.cfg)
    for leaving in dict.fromkeys((family, choose(ours.cfg).model_type)):
        again = written_as(get(leaving), ours, tmp_path / leaving)
        assert farthest(again(TOKENS_BT).logits, theirs_BTV) <= limit, leaving


@pytest.mark.parametrize("family, shape", CASES)
def test_cached_answers_are_transformers(family, shape, tmp_path):
    std = 0.2
    theirs = published(family, shape, std)
    theirs.save_pretrained(tmp_path)
    settings = transformers.GenerationConfig(do_sample=False, max_new_tokens=ANSWER, pad_token_id=0)

    def generate(prompt):
        tokens_1T = torch.tensor([prompt])
        seen = torch.ones_like(tokens_1T)
        out = theirs.generate(tokens_1T, attention_mask=seen, generation_config=settings)
        return out[0, len(prompt) :].tolist()

    answers_alike(read(tmp_path), generate, LIMITS[std][0])


@pytest.mark.parametrize("family, kind", STRETCHED)
@torch.no_grad()
def test_every_family_with_rotary_positions_knows_every_stretch(family, kind, tmp_path):
    std = 0.2
    theirs = published(family, stretched(family, kind), std)
    theirs.save_pretrained(tmp_path)
    ours = read(tmp_path)
    assert ours.cfg.rope_scaling.rope_type == kind
    for length in (TEXT, 20):
        tokens_BT = tokens(WORDS, length=length)
        assert farthest(logits(ours, tokens_BT), theirs(tokens_BT).logits) <= LIMITS[std][0]
    again = written_as(get(family), ours, tmp_path / "again")
    assert farthest(again(TOKENS_BT).logits, logits(ours, TOKENS_BT)) <= LIMITS[std][0]
