"""Losses are sums: weights weigh, counts count, and packing changes nothing."""

from dataclasses import replace

import pytest
import torch

from curves import WORDS, Cut, batch, model_config
from danlu.data.batch import IGNORE, lay_out
from danlu.model.build import build
from danlu.train.losses import next_token, spread, token_nll


@pytest.fixture(scope="module")
def model():
    return build(model_config(Cut()), seed=1)


def test_token_nll_is_minus_log_p_of_the_label(model):
    one = batch([0, 1, 4, -1])
    logits = model.logits(model(one.tokens_BT, one.positions_BT, one.samples_BT, one.layout()).hidden)
    taught = one.labels_BT != IGNORE
    expected = -logits.log_softmax(-1).gather(-1, one.labels_BT.clamp(min=0)[..., None])[..., 0]
    found = token_nll(model, one)
    torch.testing.assert_close(found[taught], expected[taught])
    assert not found[~taught].any()


def test_weights_weigh_the_sum_and_not_the_count(model):
    one = batch([0, 1, 2])
    weights = torch.rand(one.labels_BT.shape, generator=torch.Generator().manual_seed(0)) * 10
    loss = next_token(model, replace(one, weights_BT=weights))
    torch.testing.assert_close(loss.total, (token_nll(model, one) * weights).sum())
    torch.testing.assert_close(next_token(model, one).total, token_nll(model, one).sum())


def gradients(moe: str, *batches) -> tuple[float, dict[str, torch.Tensor]]:
    model = build(model_config(Cut(moe=moe)), seed=2)
    total = sum(next_token(model, one).total for one in batches)
    total.backward()
    return total.item(), {name: weight.grad for name, weight in model.named_parameters()}


def samples(*lengths: int):
    """Return random samples; the first half of each is not taught."""
    random = torch.Generator().manual_seed(3)
    ids = [torch.randint(0, WORDS, (2, length), generator=random).numpy() for length in lengths]
    for _, labels in ids:
        labels[: len(labels) // 2] = IGNORE
    return ids


def laid(group, *lengths):
    tokens, labels = (torch.cat([torch.from_numpy(one[part]) for one in group]).numpy() for part in (0, 1))
    return lay_out(tokens, labels, None, lengths, 12)


@pytest.mark.parametrize("moe", ["", "sequence", "bias"])
def test_packing_changes_neither_loss_nor_gradients(moe):
    a, b, c, d = samples(7, 5, 4, 9)
    packed = gradients(moe, laid([a, b, c, d], [7, 5], [4], [9], []))
    apart = gradients(moe, laid([c], [4]), laid([d, b], [9], [5]), laid([a], [7]))
    assert packed[0] == pytest.approx(apart[0], rel=1e-6)
    for name, gradient in packed[1].items():
        torch.testing.assert_close(gradient, apart[1][name], rtol=1e-5, atol=1e-6)


def test_balance_is_weighed_by_what_is_taught():
    one = batch([0, 1])
    taught = [
        sum(labels != IGNORE) for labels in (one.labels_BT[0], one.labels_BT[1, :5], one.labels_BT[1, 5:])
    ]
    balance = torch.tensor([1.0, 10.0, 100.0])
    assert spread(balance, one) == taught[0] + 10 * taught[1] + 100 * taught[2]
    assert spread(torch.tensor(2.0), one) == 2 * one.count
    assert spread(torch.zeros(0), batch([-1])) == 0
