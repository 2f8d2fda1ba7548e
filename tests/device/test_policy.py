"""What happens where an accelerator's own operation cannot be used is the policy's to say, and is counted."""

from __future__ import annotations

import pytest
import torch

from danlu.base.errors import UserError
from danlu.device import api, faster, ops, policy


@pytest.fixture
def broken(monkeypatch):
    """The processor, with a swiglu of its own that fails."""

    def swiglu(gate, up):
        raise RuntimeError("error code is 500002")

    monkeypatch.setattr(type(api.choose("cpu")), "ops", {"swiglu": swiglu})
    monkeypatch.setattr(faster, "_probed", {})
    monkeypatch.setattr(policy, "counts", {})


def run() -> torch.Tensor:
    gate = torch.randn(4, 8, requires_grad=True)
    ops.swiglu(gate, torch.ones(4, 8)).sum().backward()
    assert gate.grad is not None
    return gate.grad


@pytest.mark.parametrize(("chosen", "lines"), [("fallback", 0), ("warn", 1)])
def test_the_plain_operation_computes_it_with_its_gradient(broken, monkeypatch, capsys, chosen, lines):
    monkeypatch.setenv("DANLU_COMPAT", chosen)
    monkeypatch.setattr("danlu.base.log._said", set())
    for _ in range(3):
        assert bool((run() != 0).all())
    assert capsys.readouterr().err.count("500002") == lines
    counted = policy.counts["swiglu"]
    assert (counted.fast, counted.plain) == (0, 3) and "500002" in counted.put_aside


def test_a_strict_run_ends_and_says_how_to_go_on(broken, monkeypatch):
    monkeypatch.setenv("DANLU_COMPAT", "strict")
    with pytest.raises(UserError, match="swiglu of cpu cannot be used") as refusal:
        run()
    assert "DANLU_COMPAT=warn" in refusal.value.hint


def test_one_that_works_is_counted_as_such(broken, monkeypatch):
    monkeypatch.setattr(
        type(api.choose("cpu")), "ops", {"swiglu": lambda g, u: torch.nn.functional.silu(g) * u}
    )
    run()
    assert (policy.counts["swiglu"].fast, policy.counts["swiglu"].plain) == (1, 0)


def test_a_policy_that_does_not_exist_is_refused(monkeypatch):
    monkeypatch.setenv("DANLU_COMPAT", "strickt")
    with pytest.raises(UserError) as refusal:
        policy.policy()
    assert "strict" in refusal.value.hint
