"""What the tests of launchers share."""

from __future__ import annotations

import pytest

from shell import ready_clone


@pytest.fixture
def clone(tmp_path):
    """A clone that is set up, by its marks, in a place with a blank and Chinese in its path."""
    return ready_clone(tmp_path / "a clone 丹炉")
