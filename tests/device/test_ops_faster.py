"""An accelerator's own operations: used where they agree, dropped with a word where they do not."""

import pytest
import torch

from danlu.device import api, faster, ops


@pytest.fixture
def table(monkeypatch):
    """The table of the device the tests run on, empty, and nothing tried yet."""
    table = {}
    device = api.choose("cpu")
    monkeypatch.setattr(type(device), "ops", table)
    monkeypatch.setattr(faster, "_probed", {})
    return table


def test_a_faster_operation_that_agrees_is_used(table):
    calls = []

    def rms_norm(x, weight, eps):
        calls.append(x.shape)
        return torch.nn.functional.rms_norm(x, weight.shape, weight, eps)

    table["rms_norm"] = rms_norm
    ops.probe()
    calls.clear()
    ops.rms_norm(torch.randn(3, 8), torch.ones(8), 1e-6)
    assert calls == [(3, 8)]


@pytest.mark.parametrize(
    "broken",
    [lambda gate, up: gate * up, lambda gate, up: (torch.nn.functional.silu(gate) * up).detach()],
    ids=["wrong", "without gradient"],
)
def test_one_that_disagrees_is_said_once_and_never_used(table, broken, capsys):
    table["swiglu"] = broken
    gate, up = torch.randn(2, 4, 8)
    for _ in range(2):
        torch.testing.assert_close(ops.swiglu(gate, up), torch.nn.functional.silu(gate) * up)
    assert capsys.readouterr().err.count("ops: swiglu of cpu is not used") <= 1


def test_one_that_fails_falls_back(table):
    def attention(*arguments):
        raise RuntimeError("no such kernel")

    table["attention"] = attention
    q = torch.randn(1, 4, 2, 8)
    assert ops.attention(q, q, q, ops.Layout(longest=4), 1.0).shape == q.shape


def test_one_that_does_not_know_the_arguments_leaves_them_to_the_plain_one(table):
    table["rotary"] = lambda q, k, cos, sin: NotImplemented
    q, k, cos, sin = (
        torch.randn(1, 3, 2, 4),
        torch.randn(1, 3, 1, 4),
        torch.ones(1, 3, 4),
        torch.zeros(1, 3, 4),
    )
    assert torch.equal(ops.rotary(q, k, cos, sin)[0], q)


@pytest.mark.parametrize(
    "name", ["rms_norm", "swiglu", "rotary", "attention", "grouped_matmul", "cross_entropy"]
)
def test_every_operation_can_be_tried(table, name):
    plain, arguments = faster.examples(torch.device("cpu"))[name]
    assert faster._try(name, plain, torch.device("cpu"))
