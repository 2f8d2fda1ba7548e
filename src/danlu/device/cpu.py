"""The processor: always there, and the oracle of every other device."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from danlu.device import host
from danlu.device.device import Device, Traits

TABLE: dict[str, Callable[..., Any]] = {}

GLOO_SUMS = frozenset(
    (
        torch.float16,
        torch.bfloat16,
        torch.float32,
        torch.float64,
        torch.int8,
        torch.uint8,
        torch.int32,
        torch.int64,
    )
)


class Cpu(Device):
    """All cores torch was given, as one device."""

    kind = "cpu"
    backend = "gloo"
    ops = TABLE

    def __init__(self, index: int = 0) -> None:
        super().__init__(index, host.processor(), Traits(host.has_fast_bf16(), True, True, True, GLOO_SUMS))
        self.torch = torch.device("cpu")

    def synchronize(self) -> None:
        """Nothing runs behind the caller's back here."""

    def memory(self) -> dict[str, int]:
        """Return bytes this process holds now and at most, and what it may hold."""
        used, peak = host.resident()
        return {"used": used, "peak": peak, "total": host.memory()}

    def reset_peak(self) -> None:
        """Count the peak from now on, where the kernel can."""
        if os.access("/proc/self/clear_refs", os.W_OK):
            Path("/proc/self/clear_refs").write_text("5")

    def empty_cache(self) -> None:
        """The system's allocator keeps its own counsel."""

    def rng_state(self) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: Tensor) -> None:
        torch.set_rng_state(state)

    def why_no_compile(self) -> str | None:
        if any(letter.isspace() for letter in torch.__file__):
            return f"torch lies under a path with a space, which its linker cannot read: {torch.__file__}"
        return host.why_no_cpp()


def open_device(index: int) -> Cpu:
    """Return the processor, whatever the rank's number: ranks share it."""
    keep_pages()
    return Cpu(0)


def keep_pages() -> None:
    """Have glibc keep freed blocks instead of giving each back to the kernel.

    By default every tensor above 128 KiB is mapped, touched page by page and unmapped again; without
    that a training step of a small model takes a fifth less time.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # malloc.h
    mallopt(mmap_threshold, 1 << 30) or mallopt(mmap_threshold, 1 << 25)  # the most that older ones take
    mallopt(trim_threshold, (1 << 31) - 1)
    mallopt(top_pad, 1 << 26)


def why_not() -> str | None:
    """A processor there is."""
    return None


def count() -> int:
    """Return how many ranks may have a device of their own: any number."""
    return sys.maxsize
