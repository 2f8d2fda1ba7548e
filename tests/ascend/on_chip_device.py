"""The device contract on a chip: run by `test_chips.py` in a process of that chip."""

from __future__ import annotations

import os

import pytest
import torch
import torch_npu  # type: ignore[import-not-found]

from danlu.base.errors import UserError
from danlu.device import api, npu_settings

CHIP = os.environ.get("STANDIN_SOC", "")
NEW = CHIP in ("910B3", "910_93")


@pytest.fixture(autouse=True)
def device():
    return api.choose("npu")


def test_torch_finds_the_chip_and_the_engine_takes_it(device):
    assert api.choose("auto") is device
    assert device.name.startswith(f"Ascend{CHIP}")
    assert device.torch == torch.device("npu", 0)
    assert torch.distributed.get_default_backend_for_device("npu") == device.backend == "hccl"


def test_what_chips_of_this_class_can_do(device):
    traits = device.traits
    assert (traits.bf16, traits.inf_nan, traits.flash, traits.fused_adamw) == (NEW,) * 4
    assert device.default_dtype() is (torch.bfloat16 if NEW else torch.float16)
    assert (torch.bfloat16 in traits.reduce_dtypes) == NEW and torch.float64 not in traits.reduce_dtypes
    tiled = torch_npu._C._npu_getOption("ALLOW_INTERNAL_FORMAT")
    assert (tiled == b"disable") == NEW  # weights in tiles only where speed hangs on them


def test_bfloat16_is_refused_where_it_would_quietly_be_float32(device):
    if NEW:
        with device.autocast(torch.bfloat16):
            assert (
                torch.ones(2, 2, device=device.torch) @ torch.ones(2, 2, device=device.torch)
            ).dtype is torch.bfloat16
        return
    with pytest.raises(UserError, match="no bfloat16"):
        device.check(torch.bfloat16)


def test_the_same_bits_every_time_are_asked_of_the_libraries(device, monkeypatch):
    """torch_npu hands torch's flag on with each operator of the vendor's; the stand-in's own do without."""
    for name in npu_settings.REPEATING:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    try:
        device.repeat_exactly()
        assert torch.are_deterministic_algorithms_enabled()
        assert {name: os.environ[name] for name in npu_settings.REPEATING} == npu_settings.REPEATING
    finally:
        torch.use_deterministic_algorithms(False)


def test_an_overflow_is_told_as_the_chip_tells_it(device):
    big = torch.full((4,), 60000.0, dtype=torch.float16, device=device.torch)
    device.clear_overflow()
    doubled = big + big
    assert bool(torch.isinf(doubled.cpu()).all()) == NEW
    assert device.overflowed() == (not NEW)
    device.clear_overflow()
    small = big * 0.5
    assert float(small[0]) == 30000.0 and not device.overflowed()


def test_the_scaler_sees_an_overflow_and_the_next_step_is_clean(device):
    weight = torch.nn.Parameter(torch.ones(4, device=device.torch))
    scaler = device.scaler(torch.float16)
    assert scaler is not None
    for factor, overflows in ((0.5, False), (4.0, True), (0.5, False)):
        weight.grad = None
        scaler.scale((weight.half().float() * factor).sum()).backward()  # the gradient in between is float16
        assert scaler.unscale_and_check([weight]) == overflows


def test_the_generator_starts_again_where_it_was(device):
    device.seed(7)
    first = torch.rand(8, device=device.torch).cpu()
    kept = device.rng_state()
    second = torch.rand(8, device=device.torch).cpu()
    assert not torch.equal(first, second)
    device.set_rng_state(kept)
    assert torch.equal(torch.rand(8, device=device.torch).cpu(), second)
    device.seed(7)
    assert torch.equal(torch.rand(8, device=device.torch).cpu(), first)


def test_memory_is_counted_and_its_end_is_known(device):
    before = device.memory()
    held = torch.zeros(1 << 20, device=device.torch)
    after = device.memory()
    assert after["used"] - before["used"] >= held.numel() * 4
    assert after["peak"] >= after["used"] and after["total"] == 256 << 20
    with pytest.raises(RuntimeError) as caught:
        torch.zeros(1 << 30, device=device.torch)
    assert device.is_out_of_memory(caught.value) and "out of memory" in str(caught.value)
    del held
    device.empty_cache()
    device.reset_peak()
    assert device.memory()["peak"] <= after["peak"]


def test_an_operator_without_a_kernel_is_refused_and_not_computed_elsewhere(device):
    with pytest.raises(RuntimeError, match="(?i)not.*(support|implement)|NPU"):
        torch.linalg.matrix_exp(torch.eye(2, device=device.torch))


def test_the_ceiling_of_its_matrix_products_can_be_measured(device):
    assert device.matmul_ceiling(torch.float32) > 0
    assert device.why_no_compile()
