"""Samples are the same, in whatever shards they lie."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.data.samples import Samples, Shard
from made_samples import encoded


def in_shards(w: Shard, cuts: list[int]) -> Samples:
    """Return the samples of a shard as several, cut before these numbers."""
    edges = [0, *sorted(cuts), len(w)]
    spans = list(zip(edges, edges[1:]))
    return Samples(
        [Shard(w.tokens, w.starts[a:b], w.lengths[a:b], w.rows[a:b], w.codes, w.table) for a, b in spans]
    )


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.booleans(), st.data())
@settings(deadline=None)
def test_shards_change_nothing(lengths, weighted, data):
    (whole,) = encoded(lengths).shards
    if weighted:
        whole.codes, whole.table = (np.arange(len(whole.tokens)) % 3).astype(np.uint8), (0.0, 1.0, 2.5)
    cuts = data.draw(st.lists(st.integers(0, len(lengths)), max_size=4))
    numbers = np.array(data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=20)))
    one, many = Samples([whole]), in_shards(whole, cuts)
    assert many.lengths_of(numbers).tolist() == one.lengths_of(numbers).tolist()
    assert (many.places, many.mean_context, many.weighted) == (one.places, one.mean_context, one.weighted)
    for name, mine, theirs in zip(one.take(numbers)._fields, one.take(numbers), many.take(numbers)):
        if mine is None:
            assert theirs is None or (theirs == 1).all(), name
        else:
            assert mine.tolist() == theirs.tolist(), name
