"""Each class of chip: what it tells of itself, and the engine's operations on it. One process a chip."""

from __future__ import annotations

import pytest

from ascend.children import inside
from standin.build import CHIPS

pytestmark = pytest.mark.npu


@pytest.mark.parametrize("chip", CHIPS)
def test_the_device_contract_and_the_operations_hold_on(chip):
    inside(chip, "on_chip_device.py", "on_chip_operations.py", STANDIN_MEMORY_MB="256")
