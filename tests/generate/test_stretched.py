"""Where a text's length decides how its positions are turned, it is its own length, known from the start."""

from __future__ import annotations

import pytest
import torch

from danlu.generate import schedule
from danlu.generate.engine import complete
from danlu.generate.sample import Sampling
from generate.models import TOKENIZER, tiny, words

SCALINGS = {
    "dynamic": {"rope_type": "dynamic", "factor": 4.0},
    "longrope": {
        "rope_type": "longrope",
        "short_factor": tuple(1.0 + 0.1 * pair for pair in range(8)),
        "long_factor": tuple(2.0 + 0.7 * pair for pair in range(8)),
        "original_max_position_embeddings": 32,
    },
}
GREEDY = Sampling(temperature=0.0, max_tokens=12)


def stretched(kind):
    trained = 32 if kind == "dynamic" else 128
    return tiny("plain", rope_scaling=SCALINGS[kind], max_position_embeddings=trained)


def answers(model, prompts):
    return [answer.tokens for answer in complete(model, TOKENIZER, prompts, GREEDY, ends=())]


@pytest.mark.parametrize("kind", SCALINGS)
def test_a_text_is_answered_alike_alone_and_beside_longer_ones(kind):
    model, prompts = stretched(kind), words(60, 9, 27, 40)
    assert answers(model, prompts) == [answers(model, [prompt])[0] for prompt in prompts]


@pytest.mark.parametrize("kind", SCALINGS)
def test_a_prompt_read_in_pieces_is_the_prompt_read_at_once(kind, monkeypatch):
    model, prompts = stretched(kind), words(60, 9, 27)
    at_once = answers(model, prompts)
    monkeypatch.setattr(schedule, "CHUNK", 16)
    assert answers(model, prompts) == at_once


@torch.no_grad()
def test_a_text_that_outgrows_longropes_first_length_goes_on_as_if_read_anew():
    model, (text,) = stretched("longrope"), words(27)
    for token in answers(model, [text])[0]:
        assert token == int(model.logits(model(torch.tensor([text])).hidden[0, -1]).argmax())
        text = [*text, token]
    assert len(text) > 32
