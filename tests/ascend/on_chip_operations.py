"""The engine's operations on a chip are the processor's: run by `test_chips.py` in a process of that chip."""

from __future__ import annotations

import os

import pytest
import torch

from danlu import compat_report
from danlu.device import api, faster, kernels, ops
from danlu.device.plain import Layout

NEW = os.environ.get("STANDIN_SOC") in ("910B3", "910_93")
generator = torch.Generator().manual_seed(0)


def some(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=generator)


ANGLES = torch.rand(2, 16, 32, generator=generator).repeat(1, 1, 2)
HEADS = (some(2, 16, 4, 64), some(2, 16, 2, 64), some(2, 16, 2, 64))
PACKED = Layout(torch.tensor([0, 5, 16, 30], dtype=torch.int32), 16)  # two tokens of padding at the end
SEEN = torch.ones(2, 16, 16, dtype=torch.bool).tril()
SEEN[1, :, :3] = False  # a row filled up on its left
SEEN[1, :3, 0] = True
LABELS = torch.randint(0, 48, (16,), generator=generator).index_fill(0, torch.tensor([3, 7]), ops.IGNORE)
COUNTS = torch.tensor([5, 0, 11], dtype=torch.int32)

CASES = {
    "rms_norm": (ops.rms_norm, (some(16, 64), some(64), 1e-6)),
    "swiglu": (ops.swiglu, (some(16, 64), some(16, 64))),
    "rotary": (ops.rotary, (HEADS[0], HEADS[1], ANGLES.cos(), ANGLES.sin())),
    "rotary of a part": (ops.rotary, (HEADS[0], HEADS[1], ANGLES[..., :32].cos(), ANGLES[..., :32].sin())),
    "attention": (ops.attention, (*HEADS, Layout(), 0.125)),
    "attention packed": (ops.attention, (*HEADS, PACKED, 0.125)),
    "attention in a window": (ops.attention, (*HEADS, PACKED, 0.125, 4)),
    "attention masked": (ops.attention, (*HEADS, Layout(mask_BTS=SEEN), 0.125)),
    "attention soft-capped": (ops.attention, (*HEADS, PACKED, 0.125, None, 30.0)),
    "attention sloped": (ops.attention, (*HEADS, PACKED, 0.125, None, None, some(4).abs())),
    "grouped_matmul": (ops.grouped_matmul, (some(16, 64), some(3, 32, 64), COUNTS)),
    "cross_entropy": (ops.cross_entropy, (some(16, 64), some(48, 64), LABELS)),
    "cross_entropy in slices": (ops.cross_entropy, (some(16, 64), some(48, 64), LABELS, None, False)),
}


def moved(value, where):
    if isinstance(value, Layout):
        fields = {name: moved(one, where) for name, one in vars(value).items()}
        return Layout(**fields)
    if not isinstance(value, torch.Tensor):
        return value
    value = value.to(where)
    return value.requires_grad_() if value.is_floating_point() else value


def outcome(function, arguments, where):
    """Return what comes out, and the gradient of every floating argument."""
    inputs = [
        moved(value.detach() if isinstance(value, torch.Tensor) else value, where) for value in arguments
    ]
    out = function(*inputs)
    outs = out if isinstance(out, tuple) else (out,)
    if function is ops.attention and inputs[3].bounds is not None:
        outs = tuple(
            one.flatten(0, 1)[: int(inputs[3].bounds[-1])] for one in outs
        )  # padding may hold anything
    wanted = [x for x in inputs if isinstance(x, torch.Tensor) and x.requires_grad]
    total = sum(one.float().square().sum() for one in outs)
    grads = torch.autograd.grad(total, wanted, allow_unused=True)
    return [x if x is None else x.cpu() for x in (*outs, *grads)]


@pytest.mark.parametrize("name", CASES)
def test_an_operation_is_the_processors_forward_and_backward(name):
    device = api.choose("npu")
    function, arguments = CASES[name]
    there = outcome(function, arguments, device.torch)
    here = outcome(function, arguments, torch.device("cpu"))
    for one, other in zip(there, here):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_every_fused_operation_of_this_chip_is_in_use():
    """Each agrees with its plain twin in the chip's own number format, or it would have been put aside."""
    device = api.choose("npu")
    ops.probe()
    assert set(device.ops) == (FUSED if NEW else {"rotary"})
    assert all(faster._probed[device.kind, name] for name in device.ops)


FUSED = {"attention", "grouped_matmul", "rms_norm", "rotary", "swiglu"}


def test_every_operation_of_the_engine_is_compared():
    assert {name.split()[0] for name in CASES} == set(faster.examples(torch.device("npu")))


@pytest.mark.skipif(not NEW, reason="on this host there is no fused attention")
def test_cached_decoding_takes_the_fast_path_with_a_bool_mask():
    device = api.choose("npu")
    q, k, v = (moved(x, device.torch).detach() for x in HEADS)
    calls = []

    class Watching(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            calls.append(str(function))
            return function(*args, **(kwargs or {}))

    with torch.no_grad(), Watching():
        ops.attention(q, k, v, moved(Layout(mask_BTS=SEEN), device.torch), 0.125)
    assert not any("softmax" in name for name in calls), calls


def test_the_report_finds_no_operator_of_the_engine_without_a_kernel():
    told = compat_report.examine("npu")
    assert told["stopped"] == "" and len(told["operators"]) > 40
    assert not {name: one for name, one in told["operators"].items() if one != "native"}
    fused = {name for name, one in told["operations"].items() if one["by"] == "fused"}
    assert fused == (FUSED if NEW else {"rotary"})


def test_an_operator_without_a_kernel_stands_as_the_back_end_is_told(monkeypatch):
    """Without TORCH_NPU_FALLBACK_CPU_DISABLE, which `test_chips.py` sets for all other tests."""
    assert kernels.standing("aten::linalg_matrix_exp", "npu") == "missing"
    monkeypatch.delenv("TORCH_NPU_FALLBACK_CPU_DISABLE")
    assert kernels.standing("aten::linalg_matrix_exp", "npu") == "fallback"
