"""Cached decoding equals the full forward: the simplest oracle there is."""

from __future__ import annotations

import pytest
import torch

from danlu.generate.cache import Cache
from generate.models import KINDS, tiny, words


def cached_logits(model, prompts, pieces, block=256, slots=None):
    """Read all prompts together in pieces of so many tokens each; return the logits at every token."""
    cache = Cache(slots or len(prompts), 128, block)
    out = [[] for _ in prompts]
    at = 0
    for size in pieces:
        now = [prompt[at : at + size] for prompt in prompts]
        width = max(len(piece) for piece in now)
        tokens = torch.tensor([piece + [0] * (width - len(piece)) for piece in now])
        cache.begin(0, [len(piece) for piece in now], width)
        hidden = model(tokens, cache.positions(), layout=cache.layout(), cache=cache).hidden
        cache.end()
        for row, piece in enumerate(now):
            out[row].append(model.logits(hidden[row, : len(piece)]))
        at += size
    return [torch.cat(parts) for parts in out], cache


PIECES = {
    "at_once": [40],
    "token_by_token": [1] * 40,
    "prompt_then_tokens": [12] + [1] * 28,
    "chunks": [7, 16, 1, 16],
}


@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES)
@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_cached_logits_equal_the_full_forward(kind, pieces, window):
    model = tiny(kind, initializer_range=0.1, sliding_window=window)
    prompts = words(40, 23, 1, 9)
    got, cache = cached_logits(model, prompts, pieces, block=8)
    for prompt, logits in zip(prompts, got):
        full = model.logits(model(torch.tensor([prompt])).hidden[0])
        torch.testing.assert_close(logits, full, rtol=0, atol=1e-5)
    assert cache.lengths == [40, 23, 1, 9]


def next_hidden(model, cache, rows, tokens):
    """Return what the model makes of one more token in each of some slots."""
    cache.begin(rows, [1] * len(rows), 1)
    hidden = model(
        torch.tensor(tokens)[:, None], cache.positions(), layout=cache.layout(), cache=cache
    ).hidden
    cache.end()
    return hidden[:, -1]


def hidden_of(model, text):
    return model(torch.tensor([text])).hidden[0, -1]


@pytest.mark.parametrize("rows", [[0, 1], [1, 0], [2, 0], [0, 2, 1]])
@torch.inference_mode()
def test_sequences_that_changed_places_go_on_as_if_they_had_stayed(rows):
    model, prompts = tiny(), words(20, 14, 6)
    _, cache = cached_logits(model, prompts, [20])
    cache.swap(2, 0)
    assert cache.lengths == [6, 14, 20]
    hidden = next_hidden(model, cache, rows, [77] * len(rows))
    for got, row in zip(hidden, rows):
        torch.testing.assert_close(got, hidden_of(model, prompts[2 - row] + [77]), rtol=0, atol=1e-5)


@torch.inference_mode()
def test_a_copied_beginning_goes_on_as_if_it_had_been_read():
    model, prompts = tiny(), words(20, 14, 6)
    _, cache = cached_logits(model, prompts, [20])
    cache.copy(0, 2, 13)
    assert cache.lengths == [20, 14, 13]
    for row, text in ((2, prompts[0][:13] + [77]), (0, prompts[0] + [77])):
        torch.testing.assert_close(
            next_hidden(model, cache, [row], [77])[0], hidden_of(model, text), rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("kept", [0, 4])
@torch.inference_mode()
def test_what_a_slot_held_before_cannot_be_seen_not_even_as_a_broken_number(kept):
    model, (prompt, before) = tiny(), words(9, 30)
    _, cache = cached_logits(model, [prompt[:kept] + before], [30 + kept], slots=2)
    for held in (*cache._keys.values(), *cache._values.values()):
        held[0, kept : 30 + kept] = float("nan")
    cache.keep(0, kept)
    parts = [torch.empty(0, 64)]
    for piece in ([*prompt[kept:5]], [*prompt[5:]]):
        cache.begin(0, [len(piece)], len(piece))
        parts.append(
            model(torch.tensor([piece]), cache.positions(), layout=cache.layout(), cache=cache).hidden[0]
        )
        cache.end()
    torch.testing.assert_close(
        torch.cat(parts), model(torch.tensor([prompt])).hidden[0, kept:], rtol=0, atol=1e-5
    )
    cache.swap(0, 1)
    assert not any(held.isnan().any() for held in cache._stores())


def test_it_grows_by_whole_blocks_and_refuses_to_outgrow_its_limit():
    cache = Cache(slots=2, max_len=100, block=16)
    new = torch.randn(1, 1, 2, 4)
    for length in range(100):
        cache.begin(0, [1], 1)
        keys, _ = cache.append(0, new + length, new)
        cache.end()
        assert keys.shape == (1, length + 1, 2, 4) and cache._keys[0].shape[1] % 16 == 0
    assert torch.equal(keys[0, :, 0, 0], new[0, 0, 0, 0] + torch.arange(100))
    with pytest.raises(AssertionError, match="101 tokens in a cache of 100"):
        cache.begin(0, [1], 1)
