"""Each class of chip: what it tells of itself, and the engine's operations on it. One process a chip."""

from __future__ import annotations

import pytest

from ascend.children import inside
from standin.build import CHIPS

pytestmark = pytest.mark.npu


# One of each class with every change; the two that differ from them in name alone when there is time.
@pytest.mark.parametrize(
    "chip",
    [pytest.param(chip, marks=[] if chip in ("910A", "910B3") else pytest.mark.slow) for chip in CHIPS],
)
def test_the_device_contract_and_the_operations_hold_on(chip):
    inside(chip, "on_chip_device.py", "on_chip_operations.py", STANDIN_MEMORY_MB="256")
