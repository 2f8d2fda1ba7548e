"""Samples packed into rows are what each of them is alone."""

import pytest
import torch

from danlu.device import ops
from danlu.model.build import compile_blocks
from danlu.model.decoder import layout_of
from model_shapes import SHAPES, apart, config, gradients, loss, model

LENGTHS = [[17, 40, 3], [1, 58], [60]]
WIDTH = 61


def packed(vocab, lengths=LENGTHS, width=WIDTH):
    """Tokens and sample numbers of rows that hold these samples end to end, then padding."""
    generator = torch.Generator().manual_seed(3)
    tokens_BT = torch.randint(0, vocab, (len(lengths), width), generator=generator)
    samples_BT = torch.full_like(tokens_BT, -1)
    number = 0
    for row, own in enumerate(lengths):
        start = 0
        for length in own:
            samples_BT[row, start : start + length] = number
            start, number = start + length, number + 1
    return tokens_BT, samples_BT


def alone(tokens_BT, samples_BT):
    """The same samples, one a row, without padding."""
    return [tokens_BT[samples_BT == number][None] for number in range(int(samples_BT.max()) + 1)]


@pytest.mark.parametrize("name", ["qwen3", "llama, yarn", "qwen3_moe", "qwen2_moe", "glm4_moe"])
def test_packed_loss_and_gradients_are_those_of_the_samples(name):
    cfg = config(name)
    made = model(cfg)
    tokens_BT, samples_BT = packed(cfg.vocab_size)
    together, balance_S = loss(made, tokens_BT, samples_BT)
    apart_losses, apart_balances = zip(*(loss(made, sample) for sample in alone(tokens_BT, samples_BT)))
    assert together.item() == pytest.approx(sum(apart_losses).item(), rel=1e-5)
    total, total_apart = together, sum(apart_losses)
    if balance_S is not None:
        torch.testing.assert_close(balance_S, torch.cat(apart_balances), rtol=1e-5, atol=1e-8)
        total, total_apart = total + 100 * balance_S.sum(), total_apart + 100 * sum(apart_balances).sum()
    wanted = gradients(total_apart, made)
    for name, gradient in gradients(total, made).items():
        assert apart(gradient, wanted[name]) <= 1e-5, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_changing_one_sample_leaves_the_others_to_the_bit(dtype):
    cfg = config("qwen3")
    made = model(cfg)
    tokens_BT, samples_BT = packed(cfg.vocab_size)
    changed_BT = torch.where(samples_BT == 1, (tokens_BT + 7) % cfg.vocab_size, tokens_BT)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        before, after = (made(tokens, samples_BT=samples_BT).hidden for tokens in (tokens_BT, changed_BT))
    others_BT = (samples_BT >= 0) & (samples_BT != 1)
    assert torch.equal(before[others_BT], after[others_BT])
    assert not torch.equal(before[samples_BT == 1], after[samples_BT == 1])


@torch.no_grad()
@pytest.mark.parametrize("name", ["qwen3_moe", "qwen2_moe", "glm4_moe"])
def test_changing_one_sample_hardly_touches_the_others_in_a_mixture_of_experts(name):
    """Experts see another number of rows, so their products may round otherwise; nothing else may differ."""
    cfg = config(name)
    made = model(cfg)
    tokens_BT, samples_BT = packed(cfg.vocab_size)
    changed_BT = torch.where(samples_BT == 1, (tokens_BT + 7) % cfg.vocab_size, tokens_BT)
    before, after = (
        made.logits(made(tokens, samples_BT=samples_BT).hidden) for tokens in (tokens_BT, changed_BT)
    )
    others_BT = (samples_BT >= 0) & (samples_BT != 1)
    assert apart(after[others_BT], before[others_BT]) <= 1e-6
    assert apart(after[samples_BT == 1], before[samples_BT == 1]) > 1e-3


def test_the_future_changes_nothing():
    cfg = config("qwen3_moe")
    made = model(cfg)
    tokens_BT = torch.randint(0, cfg.vocab_size, (2, 30))
    later_BT = tokens_BT.clone()
    later_BT[:, 20:] = (later_BT[:, 20:] + 1) % cfg.vocab_size
    before, after = (made(tokens).hidden[:, :20] for tokens in (tokens_BT, later_BT))
    torch.testing.assert_close(before, after, rtol=0, atol=1e-6)


def test_a_layout_is_what_sample_numbers_say():
    tokens_BT, samples_BT = packed(301)
    assert layout_of(samples_BT).bounds.tolist() == [0, 17, 57, 60, 61, 62, 120, 122, 182, 183]
    cfg = config("qwen3")
    made = model(cfg)
    by_layout = made(tokens_BT, samples_BT=samples_BT, layout=layout_of(samples_BT)).hidden
    assert torch.equal(by_layout, made(tokens_BT, samples_BT=samples_BT).hidden)


class Store:
    """The plainest cache: everything ever appended, joined."""

    def __init__(self):
        self.kept = {}

    def append(self, layer, k_BTKD, v_BTKD):
        old = self.kept.get(layer)
        new = (k_BTKD, v_BTKD)
        self.kept[layer] = new if old is None else tuple(torch.cat(pair, 1) for pair in zip(old, new))
        return self.kept[layer]


@pytest.mark.parametrize(
    "name", [name for name in SHAPES if "dynamic" not in name and "longrope" not in name]
)
def test_reading_through_a_cache_is_the_whole_forward(name):
    """Those whose frequencies depend on the length differ by definition: old keys stay as they were."""
    cfg = config(name)
    made = model(cfg).eval()
    tokens_BT = torch.randint(0, cfg.vocab_size, (3, 29))
    whole = made(tokens_BT).hidden
    cache, pieces = Store(), []
    for start, end in [(0, 11), (11, 12), (12, 13), (13, 29)]:
        places = torch.arange(start, end)
        mask_BTS = (places[:, None] >= torch.arange(end)).expand(3, -1, -1)
        layout = ops.Layout(longest=end, mask_BTS=mask_BTS)
        pieces.append(made(tokens_BT[:, start:end], places.expand(3, -1), layout=layout, cache=cache).hidden)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen3", "glm4_moe"])
def test_compiled_blocks_are_the_plain_ones(name):
    """One program for all blocks of a kind, whatever the number of samples, and the same gradients."""
    cfg = config(name, num_hidden_layers=10)
    plain, compiled = model(cfg), model(cfg)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compile_blocks(compiled)
    for lengths in (LENGTHS, [[61], [30, 31], [5, 5, 5, 5]]):
        batch = packed(cfg.vocab_size, lengths)
        totals = [loss(made, *batch)[0] for made in (plain, compiled)]
        assert totals[0].item() == pytest.approx(totals[1].item(), rel=1e-5)
        wanted = gradients(totals[0], plain)
        for key, gradient in gradients(totals[1], compiled).items():
            assert apart(gradient, wanted[key]) <= 2e-5, key
    counters = torch._dynamo.utils.counters
    assert not counters["graph_break"]
    assert counters["stats"]["unique_graphs"] == (2 if cfg.moe else 1)
    if cfg.moe:
        assert torch.equal(plain.router_loads(), compiled.router_loads())
