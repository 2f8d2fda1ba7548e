"""How fast this device really multiplies matrices: the best of several shapes, in about a second.

A vendor's figure is for a chip at full clock in a cold room, and most processors have none. What a
training step can reach is bounded by what a plain matrix product reaches here, today, with the threads
and the power this process has; so that is measured, and utilisation is said against it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

SECONDS = 1.0
SIZES = {"cpu": (256, 512, 1024, 2048)}
LARGE = (1024, 4096, 8192)


def measure(
    device: torch.device, dtype: torch.dtype, wait: Callable[[], None], seconds: float = SECONDS
) -> float:
    """Return the FLOP/s of the fastest square product x @ w.T in `dtype`.

    Sizes grow until the time is used up: a slow device never begins one it could not finish.
    """
    best = 0.0
    began = time.perf_counter()
    sizes = SIZES.get(device.type, LARGE)
    for number, size in enumerate(sizes):
        left = seconds - (time.perf_counter() - began)
        flops = 2.0 * size**3
        if best and 2 * flops / best > left:
            break
        best = max(best, flops / _fastest(device, dtype, size, wait, left / (len(sizes) - number)))
    return best


@torch.no_grad()
def _fastest(
    device: torch.device, dtype: torch.dtype, size: int, wait: Callable[[], None], seconds: float
) -> float:
    """Return the seconds of the fastest product of one size; random numbers, since zeros draw less power."""
    x, w = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    torch.nn.functional.linear(x, w)  # the first call chooses and loads a kernel
    wait()
    fastest = float("inf")
    until = time.perf_counter() + seconds
    while fastest == float("inf") or time.perf_counter() < until:
        began = time.perf_counter()
        torch.nn.functional.linear(x, w)
        wait()
        fastest = min(fastest, time.perf_counter() - began)
    return fastest
