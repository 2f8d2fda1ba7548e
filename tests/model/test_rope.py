"""Rotary positions: the published formulas, and what a turn must leave alone."""

import math

import pytest
import torch

from danlu.device import ops
from danlu.model import rope
from danlu.model.config import RopeScaling, resolve
from model_shapes import config


def test_yarn_is_its_formula():
    """Peng et al. 2023: over the original length, pairs that turn 32 times stay, under once are divided."""
    factor, original, theta, R = 16.0, 2048, 1e6, 64
    scaling = {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original}
    cfg = resolve({"preset": "minimind", "rope_scaling": scaling | {"attention_factor": 1.0}})
    found_P, attention = rope.frequencies(cfg, 0)
    assert attention == 1.0

    def border(turns):
        return R * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = math.floor(border(32)), math.ceil(border(1))
    for pair in range(R // 2):
        plain = theta ** (-2 * pair / R)
        gamma = min(1.0, max(0.0, (pair - low) / (high - low)))
        assert found_P[pair].item() == pytest.approx(plain * (1 - gamma + gamma / factor), rel=1e-5)
        turns = original * plain / (2 * math.pi)
        if turns > 40:
            assert found_P[pair].item() == pytest.approx(plain, rel=1e-5)
        if turns < 0.8:
            assert found_P[pair].item() == pytest.approx(plain / factor, rel=1e-5)


def test_yarn_attends_by_the_papers_temperature_unless_told():
    cfg = config("llama, yarn")
    assert rope.frequencies(cfg, 0)[1] == pytest.approx(0.1 * math.log(4) + 1)


def test_a_scaling_that_does_not_stretch_changes_nothing():
    plain_P, _ = rope.frequencies(config("llama"), 0)
    for scaling in (
        RopeScaling(rope_type="linear", factor=1.0),
        RopeScaling(rope_type="dynamic", factor=4.0),  # up to the trained length
        RopeScaling(rope_type="yarn", factor=1.0, original_max_position_embeddings=512),
    ):
        found_P, attention = rope.frequencies(
            config("llama").model_copy(update={"rope_scaling": scaling}), 10
        )
        torch.testing.assert_close(found_P, plain_P)
        assert attention == 1.0


def test_scores_depend_on_distance_alone():
    frequencies_P, _ = rope.frequencies(config("qwen3"), 0)
    q, k = torch.randn(2, 1, 1, 1, 16)

    def score(at_q, at_k):
        (turned_q, _), (_, turned_k) = (
            ops.rotary(q, k, *rope.tables(frequencies_P, 1.0, torch.tensor([[at]]))) for at in (at_q, at_k)
        )
        return (turned_q * turned_k).sum().item()

    assert score(17, 5) == pytest.approx(score(112, 100), rel=1e-4)
    assert score(0, 0) == pytest.approx((q * k).sum().item(), rel=1e-6)


def test_narrow_tables_leave_the_rest_of_a_head():
    cos, sin = rope.tables(torch.tensor([0.5, 0.1]), 1.0, torch.arange(5)[None])
    q, k = torch.randn(1, 5, 2, 8), torch.randn(1, 5, 1, 8)
    turned_q, turned_k = ops.rotary(q, k, cos, sin)
    assert torch.equal(turned_q[..., 4:], q[..., 4:])
    assert not torch.equal(turned_k[:, 1:, :, :4], k[:, 1:, :, :4])
