"""How many rows the epochs of a supply make, counted without making them and remembered in the cache.

    cache/rows/<key>.json    {"rows": 123456}

The key is a hash of all that decides the number. Only counts that take a while are kept.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from typing import Any

from danlu.base import paths
from danlu.base.log import say
from danlu.data.packing import Packer
from danlu.data.ramp import Ramp
from danlu.data.supply import Clock, Supply

KEPT = 200_000  # samples from which on a count is remembered
PATIENCE = 10.0  # seconds between two lines of progress


def count_rows(supply: Supply, packer: Packer, ramp: Ramp, epochs: int) -> int:
    """Return how many rows the first `epochs` epochs have: a tenth of a second a million samples."""
    samples = supply.size()
    assert samples is not None, "an epoch of unknown size cannot be counted"
    if not packer.packing and not supply.names:
        return samples * epochs
    if samples * epochs < KEPT:
        return _count(supply, packer, ramp, epochs)
    parts = [supply.identity, packer.row, packer.packing, epochs]
    if supply.names:  # its weights may follow the steps
        parts += [ramp.full, ramp.first, ramp.steps]
    return _remembered(parts, supply, packer, ramp, epochs)


def _remembered(parts: list[Any], supply: Supply, packer: Packer, ramp: Ramp, epochs: int) -> int:
    name = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    memo = paths.cache() / "rows" / f"{name}.json"
    try:
        return int(json.loads(memo.read_text(encoding="utf-8"))["rows"])
    except (OSError, ValueError, KeyError, TypeError):
        rows = _count(supply, packer, ramp, epochs)
    try:
        memo.parent.mkdir(parents=True, exist_ok=True)
        paths.write_text(memo, json.dumps({"rows": rows}) + "\n")
    except OSError as error:
        say(f"{memo}: {error.strerror}; the number of rows will be counted again next time")
    return rows


def _count(supply: Supply, packer: Packer, ramp: Ramp, epochs: int) -> int:
    rows = samples = 0
    told = time.monotonic()
    for before, more in _windows(supply, packer, ramp, epochs):
        samples, rows = samples + before, rows + more
        if time.monotonic() - told > PATIENCE:
            told = time.monotonic()
            of = (supply.size() or 0) * epochs
            say(f"counting steps: {samples:,} of about {of:,} samples; steps=N would not need to")
    return rows


def _windows(supply: Supply, packer: Packer, ramp: Ramp, epochs: int) -> Iterator[tuple[int, int]]:
    """Yield samples and rows of every window, keeping the clock as dealing would."""
    clock, missing = Clock(), ramp.rows(0)
    for window in supply.windows(supply.start(), clock):
        rows = packer.count(window.lengths_S)
        yield len(window.lengths_S), rows
        left = rows if supply.names else 0  # only a mixture's weights look at the clock
        while left >= missing:
            left -= missing
            clock.step += 1
            missing = ramp.rows(clock.step)
        missing -= left
        if supply.epoch(window.after) >= epochs:
            return
