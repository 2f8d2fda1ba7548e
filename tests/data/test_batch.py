"""A batch lays samples end to end; an oracle that writes token by token agrees."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.data.batch import IGNORE, Batch, collate, lay_out

rows_of_samples = st.lists(st.lists(st.integers(1, 6), max_size=3), min_size=1, max_size=4)


@given(rows_of_samples, st.integers(0, 3))
@settings(deadline=None)
def test_every_token_lies_where_a_slow_writer_puts_it(lengths, more):
    width = max(map(sum, lengths)) + more or 1
    total = sum(map(sum, lengths))
    tokens_N, labels_N = np.arange(100, 100 + total), np.arange(500, 500 + total)
    batch = lay_out(tokens_N, labels_N, np.ones(total, np.float32), lengths, width, pad=7)

    place, sample, bounds = 0, 0, set()
    for number, row in enumerate(lengths):
        expected = []
        for length in row:
            bounds.add(number * width + len(expected))
            expected += [(100 + place + i, 500 + place + i, i, sample) for i in range(length)]
            place, sample = place + length, sample + 1
        bounds |= {number * width + len(expected), (number + 1) * width, number * width}
        expected += [(7, IGNORE, 0, -1)] * (width - len(expected))
        found = zip(
            *(
                x[number].tolist()
                for x in (batch.tokens_BT, batch.labels_BT, batch.positions_BT, batch.samples_BT)
            )
        )
        assert list(found) == expected
    assert batch.bounds.tolist() == sorted(bounds)
    assert batch.longest == int(batch.bounds.diff().max())
    assert (batch.count, batch.num_tokens, batch.num_samples) == (total, total, sample)
    assert batch.weights_BT.sum() == total


def test_plain_samples_learn_every_next_token_and_can_be_filled_up_with_rows():
    batch = collate([[np.array([5, 6, 7]), np.array([8, 9])]], 6, rows=2)
    assert batch.tokens_BT.tolist() == [[5, 6, 7, 8, 9, 0], [0] * 6]
    assert batch.labels_BT[0].tolist() == [6, 7, IGNORE, 9, IGNORE, IGNORE]
    assert (batch.count, batch.num_tokens, batch.num_samples) == (3, 5, 2)


def test_an_empty_batch_has_the_shape_and_teaches_nothing():
    batch = collate([[np.array([5, 6, 7])]], 4)
    batch.weights_BT = torch.ones(1, 4)
    nothing = Batch.empty_like(batch)
    assert nothing.tokens_BT.shape == batch.tokens_BT.shape and nothing.weights_BT.shape == (1, 4)
    assert (nothing.count, nothing.num_tokens, nothing.num_samples) == (0, 0, 0)
    assert (nothing.labels_BT == IGNORE).all() and (nothing.samples_BT == -1).all()
    assert nothing.bounds.tolist() == [0, 4]


def test_a_batch_moves_whole():
    moved = collate([[np.array([5, 6])]], 4).to("meta")
    assert {x.device.type for x in vars(moved).values() if isinstance(x, torch.Tensor)} == {"meta"}
    assert moved.layout().bounds is moved.bounds
