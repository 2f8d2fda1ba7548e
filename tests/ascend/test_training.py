"""Stages, checkpoints and generation on chips of both classes: the processor's losses and words."""

from __future__ import annotations

import pytest

from ascend.children import inside

pytestmark = [pytest.mark.npu]


@pytest.mark.parametrize("chip", ["910A", "910B3"])
def test_training_on_a_chip_is_training_on_the_processor(chip):
    inside(chip, "on_chip_training.py")
