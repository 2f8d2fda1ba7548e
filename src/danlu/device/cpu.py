"""The processor: always there, and the oracle of every other device."""

from __future__ import annotations

import functools
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

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
        super().__init__(index, name(), Traits(has_fast_bf16(), True, True, True, GLOO_SUMS))
        self.torch = torch.device("cpu")

    def synchronize(self) -> None:
        """Nothing runs behind the caller's back here."""

    def memory(self) -> dict[str, int]:
        """Return bytes this process holds now and at most, and what it may hold."""
        used, peak = _resident()
        return {"used": used, "peak": peak, "total": total_memory()}

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
        return why_no_cpp()


def open_device(index: int) -> Cpu:
    """Return the processor, whatever the rank's number: ranks share it."""
    return Cpu(0)


def why_not() -> str | None:
    """A processor there is."""
    return None


def count() -> int:
    """Return how many ranks may have a device of their own: any number."""
    return sys.maxsize


@functools.cache
def name() -> str:
    """Return the processor's name as its maker gives it."""
    if sys.platform == "darwin":
        asked = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
        )
        return asked.stdout.strip() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


@functools.cache
def has_fast_bf16() -> bool:
    """Return whether bfloat16 products have their own instructions: AVX512-BF16 or AMX."""
    found = re.search(r"^flags\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    flags = set(found[1].split()) if found else set()
    return bool(flags & {"avx512_bf16", "amx_bf16"})


def total_memory() -> int:
    """Return the bytes this process may use: the host's, or its container's if that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in (_read("/sys/fs/cgroup/memory.max"), _read("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        if limit.strip().isdigit():
            total = min(total, int(limit))
    return total


def _resident() -> tuple[int, int]:
    """Return bytes resident now and at most."""
    status = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", _read("/proc/self/status"), re.MULTILINE))
    if len(status) == 2:
        return int(status["VmRSS"]) * 1024, int(status["VmHWM"]) * 1024
    import resource  # only here: macOS has no /proc

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return peak, peak


def why_no_cpp() -> str | None:
    """Return why torch.compile cannot build C++ here, with the remedy, or None."""
    if sys.platform == "win32":
        return "torch.compile is not tried on Windows; use WSL"
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler.split()[0]) is None:
        return f"no C++ compiler ('{compiler}'); install g++, or set CXX"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return f"no Python.h in {sysconfig.get_path('include')}; install python3-dev"
    return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
