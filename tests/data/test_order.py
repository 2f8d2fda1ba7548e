"""The computed order is a permutation, another one for each key, and the same everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.data.order import Order, mix


@given(st.integers(1, 3000), st.integers(0, 2**64 - 1))
@settings(deadline=None)
def test_every_index_comes_once(size, key):
    assert np.array_equal(np.sort(Order(size, key)[np.arange(size)]), np.arange(size))


@given(st.integers(2, 10**12), st.integers(0, 9), st.data())
@settings(deadline=None)
def test_a_place_does_not_depend_on_what_else_is_asked(size, key, data):
    places = np.array(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=5)))
    order = Order(size, key)
    assert [int(order[np.array([place])][0]) for place in places] == order[places].tolist()
    assert ((0 <= order[places]) & (order[places] < size)).all()


def test_without_a_key_the_order_is_as_it_was():
    assert Order(9, None)[np.arange(3, 6)].tolist() == [3, 4, 5]


def test_keys_and_epochs_give_unrelated_orders():
    size = 2000
    orders = [Order(size, mix(seed, epoch))[np.arange(size)] for seed in range(3) for epoch in range(3)]
    for number, one in enumerate(orders):
        for other in [np.arange(size), *orders[:number]]:
            assert (one == other).sum() < 15  # one place in 2000 agrees by chance
            assert abs(np.corrcoef(one, other)[0, 1]) < 0.1


@pytest.mark.parametrize(("numbers", "expected"), [((0,), 16294208416658607535), ((1, 2), mix(1, 2))])
def test_mixing_is_the_published_generator(numbers, expected):
    assert mix(*numbers) == expected  # SplitMix64 of seed 0 begins with 0xE220A8397B1DCDAF
