"""Whether an accelerator's own operations may be used: each is tried once against the plain one.

An operation that fails or disagrees on something small, forward or backward, is said once and never
called again. One that answers NotImplemented is asked again with every call: it may know other arguments.
What happens then, and how often it was so, is `policy.py`'s.

Letters: B rows, T queries, S keys, H query heads, K key heads, D head width, N tokens, E experts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from danlu.device import api, grouped, linear_ce, plain, policy

_probed: dict[tuple[str, str], bool] = {}


def probe() -> None:
    """Try the accelerator's operations; call it before anything is compiled."""
    device = api.current()
    for name, fast in device.ops.items():
        if (device.kind, name) not in _probed:
            _probed[device.kind, name] = _try(name, fast, device.torch)


def call(name: str, like: Tensor, *arguments: Any) -> Any:
    """Return what the accelerator's own version of an operation computes, or NotImplemented."""
    if name not in api.current().ops:
        return NotImplemented
    fast = faster(name, like)
    out = fast(*arguments) if fast else NotImplemented
    if not torch.compiler.is_compiling():
        policy.count(name, out is not NotImplemented)
    return out


def faster(name: str, like: Tensor) -> Callable[..., Any] | None:
    """Return the accelerator's own version of an operation for a tensor that lies on it."""
    device = api.current()
    fast = device.ops.get(name) if device.kind == like.device.type else None
    if fast is None:
        return None
    if (device.kind, name) not in _probed and not torch.compiler.is_compiling():
        _probed[device.kind, name] = _try(name, fast, device.torch)
    return fast if _probed.get((device.kind, name), False) else None


def _try(name: str, fast: Callable[..., Any], device: torch.device) -> bool:
    """Return whether a fast operation agrees with the plain one, forward and backward."""
    reference, arguments = examples(device)[name]
    try:
        results = [with_gradients(function, arguments) for function in (reference, fast)]
        if results[1] is not None:
            torch.testing.assert_close(*results, rtol=0.05, atol=0.05)
        return True
    except (RuntimeError, AssertionError, TypeError, AttributeError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        policy.put_aside(name, device.type, reason[0])
        return False


def with_gradients(function: Callable[..., Any], arguments: tuple[Any, ...]) -> list[Tensor] | None:
    """Return outputs and gradients of a call, None where it does not know the arguments."""
    inputs = [x.clone().requires_grad_() if _is_float(x) else x for x in arguments]
    output = function(*inputs)
    if output is NotImplemented:
        return None
    outputs = output if isinstance(output, tuple) else (output,)
    wanted = [x for x in inputs if _is_float(x) and x.dim() > 1]
    return [
        *outputs,
        *torch.autograd.grad(sum(y.float().square().sum() for y in outputs), wanted, allow_unused=True),
    ]


def _is_float(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point()


def examples(
    device: torch.device, N: int = 16, C: int = 64
) -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """Return each operation's plain version and arguments: N tokens of width C, in the device's format."""
    generator = torch.Generator().manual_seed(0)
    dtype = api.current().default_dtype()
    H, F = C // 16, C // 2

    def some(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device, dtype)

    angles_BTD = torch.rand(1, N, 32, generator=generator).repeat(1, 1, 2).to(device)
    border = N // 3
    layout = plain.Layout(torch.tensor([0, border, N], dtype=torch.int32, device=device), N - border)
    q_BTHD, k_BTKD, v_BTKD = some(1, N, H, 64), some(1, N, H // 2, 64), some(1, N, H // 2, 64)
    labels_N = torch.randint(0, 48, (N,), generator=generator).to(device)
    counts_E = torch.tensor([border, 0, N - border], dtype=torch.int32, device=device)
    return {
        "rms_norm": (plain.rms_norm, (some(N, C), some(C), 1e-6)),
        "swiglu": (plain.swiglu, (some(N, C), some(N, C))),
        "rotary": (plain.rotary, (q_BTHD, k_BTKD, angles_BTD.cos(), angles_BTD.sin())),
        "attention": (plain.attention, (q_BTHD, k_BTKD, v_BTKD, layout, 0.125, None, None)),
        "grouped_matmul": (grouped.grouped_matmul, (some(N, C), some(3, F, C), counts_E)),
        "cross_entropy": (linear_ce.plain, (some(N, C), some(48, C), labels_N)),
    }
