"""What can be known of a host without torch: its processor, its memory, its compiler."""

from __future__ import annotations

import functools
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path


@functools.cache
def processor() -> str:
    """Return the processor's name as its maker gives it."""
    if sys.platform == "darwin":
        asked = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
        )
        return asked.stdout.strip() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", read("/proc/cpuinfo"), re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


@functools.cache
def has_fast_bf16() -> bool:
    """Return whether bfloat16 products have their own instructions: AVX512-BF16 or AMX."""
    found = re.search(r"^flags\s*:\s*(.+)$", read("/proc/cpuinfo"), re.MULTILINE)
    flags = set(found[1].split()) if found else set()
    return bool(flags & {"avx512_bf16", "amx_bf16"})


def memory() -> int:
    """Return the bytes this process may use: the host's, or its container's if that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in (read("/sys/fs/cgroup/memory.max"), read("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        if limit.strip().isdigit():
            total = min(total, int(limit))
    return total


def resident() -> tuple[int, int]:
    """Return bytes resident now and at most."""
    status = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", read("/proc/self/status"), re.MULTILINE))
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


def at(path: str) -> Path:
    """Return a path of the host looked at: HOST_ROOT stands before it, as in the launchers."""
    return Path(os.environ.get("HOST_ROOT", "") + path)


def read(path: str) -> str:
    """Return what a small file says; nothing if it is not there."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
