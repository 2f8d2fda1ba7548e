"""The loss scale: it changes no gradient it need not, finds every overflow, and keeps ranks together."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributed.tensor import Shard, distribute_tensor

from danlu.device import api
from danlu.device.scaler import Scaler


class Saturating:
    """A chip whose float16 ends at 65504: an overflow leaves no Inf, only a flag that stays up."""

    def __init__(self) -> None:
        self.flag = False

    def clear_overflow(self) -> None:
        self.flag = False

    def overflowed(self) -> bool:
        return self.flag

    def gradient(self, scaled: float) -> torch.Tensor:
        self.flag |= abs(scaled) > 65504
        return torch.tensor([max(-65504.0, min(65504.0, scaled))])


def backward(device: Saturating, scaler: Scaler, gradient: float) -> torch.Tensor:
    """One parameter after a backward pass that should have left `gradient`."""
    weight = torch.zeros(1, requires_grad=True)
    scaled = scaler.scale(torch.tensor(gradient))
    weight.grad = device.gradient(float(scaled))
    return weight


def test_only_float16_is_scaled():
    device = api.choose("cpu")
    assert device.scaler(torch.float16) is not None
    assert device.scaler(torch.bfloat16) is None and device.scaler(torch.float32) is None


def test_scaling_and_unscaling_changes_no_bit():
    scaler = api.choose("cpu").scaler(torch.float16)
    torch.manual_seed(0)
    weight, x = torch.randn(8, 8, requires_grad=True), torch.randn(4, 8)
    plain = torch.autograd.grad((x @ weight).square().sum(), weight)[0]
    scaler.scale((x @ weight).square().sum()).backward()
    assert not scaler.unscale_and_check([weight])
    assert torch.equal(weight.grad, plain)


@pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan")])
def test_what_is_not_a_number_is_found(bad):
    scaler = api.choose("cpu").scaler(torch.float16)
    weights = [torch.zeros(3, requires_grad=True) for _ in range(3)]
    weights[0].grad, weights[1].grad = torch.ones(3), torch.tensor([1.0, bad, 1.0])
    assert scaler.unscale_and_check(weights)


def test_a_large_gradient_is_no_overflow():
    weight = torch.zeros(2, requires_grad=True)
    weight.grad = torch.full((2,), 3e38)  # its square, or the sum of both, would be Inf
    assert not api.choose("cpu").scaler(torch.float16).unscale_and_check([weight])


def test_no_gradients_no_overflow():
    assert not api.choose("cpu").scaler(torch.float16).unscale_and_check([torch.zeros(1, requires_grad=True)])


def test_an_overflow_that_saturates_is_found():
    device = Saturating()
    scaler = Scaler(device)
    weight = backward(device, scaler, 2.0)  # 2 * 65536 saturates to a harmless looking number
    assert scaler.unscale_and_check([weight])
    scaler.update(True)
    scaler.update(True)
    weight = backward(device, scaler, 2.0)
    assert not scaler.unscale_and_check([weight])
    assert weight.grad.item() == 2.0


def test_an_overflow_in_any_micro_batch_counts_for_the_step():
    device = Saturating()
    scaler = Scaler(device)
    backward(device, scaler, 2.0)
    weight = backward(device, scaler, 0.25)
    assert scaler.unscale_and_check([weight])


def test_ranks_that_agree_by_max_stay_together_and_those_that_do_not_part():
    def scales(agree: bool) -> list[float]:
        devices = [Saturating(), Saturating()]
        scalers = [Scaler(device) for device in devices]
        for gradients in ((2.0, 0.1), (0.1, 0.1)):
            weights = [backward(*pair, g) for *pair, g in zip(devices, scalers, gradients, strict=True)]
            found = [
                scaler.unscale_and_check([weight]) for scaler, weight in zip(scalers, weights, strict=True)
            ]
            for scaler, own in zip(scalers, found, strict=True):
                scaler.update(max(found) if agree else own)
        return [scaler.value for scaler in scalers]

    one, other = scales(agree=True)
    assert one == other
    one, other = scales(agree=False)
    assert one != other


@settings(max_examples=30, deadline=None)
@given(st.lists(st.booleans(), max_size=40), st.integers(1, 5))
def test_the_scale_moves_as_torchs_does(overflows, interval):
    ours = Scaler(api.choose("cpu"), interval=interval)
    theirs = torch.amp.GradScaler("cpu", init_scale=ours.value, growth_interval=interval)
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.0)
    for overflow in overflows[:12]:
        theirs.scale(torch.zeros(1))
        weight.grad = torch.full((1,), float("inf") if overflow else 1.0)
        theirs.step(optimizer)
        theirs.update()
        ours.update(overflow)
        assert ours.value == theirs.get_scale()


def test_the_scale_never_falls_below_one():
    scaler = Scaler(Saturating())
    for _ in range(100):
        scaler.update(True)
    assert scaler.value == 1.0


def test_the_state_is_plain_and_goes_on():
    scaler, later = Scaler(Saturating(), interval=3), Scaler(Saturating(), interval=3)
    for found in (True, False, False):
        scaler.update(found)
    state = scaler.state_dict()
    assert {type(value) for value in state.values()} <= {int, float}
    later.load_state_dict(state)
    for one in (scaler, later):
        one.update(False)
    assert later.value == scaler.value == 2.0**16


def test_a_sharded_gradient_is_unscaled_where_it_lies():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        mesh = dist.device_mesh.init_device_mesh("cpu", (1,))
        weight = torch.nn.Parameter(distribute_tensor(torch.zeros(4), mesh, [Shard(0)]))
        weight.grad = distribute_tensor(torch.full((4,), 2.0**16), mesh, [Shard(0)])
        assert not Scaler(Saturating()).unscale_and_check([weight])
        assert torch.equal(weight.grad.to_local(), torch.ones(4))
    finally:
        dist.destroy_process_group()
