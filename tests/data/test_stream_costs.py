"""What a stream costs does not depend on how much data there is: neither a resume nor memory."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.loader import resume_seconds, sparse, stream
from danlu.data.samples import Samples, Shard

ROOT = Path(__file__).resolve().parents[2]


def test_going_on_at_row_100_million_takes_no_longer_than_at_row_1(tmp_path):
    samples = sparse(tmp_path, 110_000_000)
    resume_seconds(samples, 1)
    near, far = zip(*[(resume_seconds(samples, 1), resume_seconds(samples, 10**8)) for _ in range(5)])
    assert min(far) < 1.5 * min(near) + 0.005


def test_going_on_reads_one_window_and_what_it_hands_out(tmp_path):
    """Counted in elements, so that no clock can blur it."""

    class Counting(np.ndarray):
        read = 0

        def __getitem__(self, at):
            found = super().__getitem__(at)
            Counting.read += np.size(found)
            return found

    shard = sparse(tmp_path, 10**7).shards[0]
    lengths = np.full(10**7, 12, np.int32).view(Counting)
    samples = Samples([Shard(shard.tokens, shard.starts, lengths, shard.rows)])
    resume_seconds(samples, 9 * 10**6)
    assert 0 < Counting.read < 3 * 4200


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="on this host memory is not told")
@pytest.mark.parametrize(("kind", "rows"), [("mapped", 100_000), ("streamed", 40_000)])
def test_memory_does_not_grow_with_the_rows_that_went_through(kind, rows):
    command = [sys.executable, "-m", "bench.loader", "--hold", kind, "--rows", str(rows)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    held = json.loads(done.stdout)
    # What the allocator takes in one piece, it takes between two moments; rows that are kept, between all.
    grown = statistics.median(np.diff(held))
    assert grown < 40 * rows / len(held)  # bytes; a row that is kept takes twice that and more


def test_counting_is_not_done_where_steps_are_said(tmp_path, monkeypatch):
    from danlu.data import count

    monkeypatch.setattr(count, "_count", None)
    assert next(stream(sparse(tmp_path, 10**8), rows=4))
