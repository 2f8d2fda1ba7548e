"""Packed weights give the same answers, and alone the same bits as among others."""

from __future__ import annotations

import pytest
import torch

from danlu.generate import packed
from danlu.generate.engine import complete
from danlu.generate.sample import Sampling
from generate.models import KINDS, TOKENIZER, tiny, words

pytestmark = pytest.mark.skipif(not packed.supports(torch.float32), reason="no packed products on this host")


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_logits_equal_those_of_the_weights_as_they_were(kind):
    model, tokens = tiny(kind, initializer_range=0.1, qkv_bias=True), torch.tensor(words(30))
    before = model.logits(model(tokens).hidden)
    names = list(model.state_dict())
    assert packed.pack(model)
    torch.testing.assert_close(model.logits(model(tokens).hidden), before, rtol=0, atol=1e-5)
    assert list(model.state_dict()) == names


def test_greedy_tokens_stay_and_bfloat16_works():
    prompts, greedy = words(9, 4, 20), Sampling(temperature=0.0, max_tokens=16)
    model = tiny()
    before = [answer.tokens for answer in complete(model, TOKENIZER, prompts, greedy)]
    packed.pack(model)
    assert [answer.tokens for answer in complete(model, TOKENIZER, prompts, greedy)] == before
    half = tiny().to(torch.bfloat16)
    if packed.pack(half):
        assert len(complete(half, TOKENIZER, prompts, greedy, ends=())[0].tokens) == 16


@torch.inference_mode()
def test_a_row_does_not_depend_on_the_rows_beside_it():
    multiply = packed.product(torch.randn(200, 96))
    x = torch.randn(40, 96)
    assert torch.equal(multiply(x), torch.cat([multiply(row[None]) for row in x]))
