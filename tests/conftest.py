"""What every test shares: what the marks need, and when a skipped test is a failed one.

A test whose mark asks for something this machine lacks is skipped, and says what would bring it. In CI (`CI`
is set) whatever `run_all.sh test` can set up must be there: only `MAY_BE_MISSING` is excused.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[1]

# Hardware, rights and versions that a machine has or has not; never something that could be installed.
MAY_BE_MISSING = [
    "no GPU",
    "no second GPU",
    "no NPU",
    "this host has an accelerator",
    "on this host",
    "no container engine",
    "no network namespaces",
    "a small file system cannot be mounted",
    r"torch (before|from) \d",
]


def no_gpu() -> str | None:
    import torch

    return None if torch.cuda.is_available() else "no GPU"


def no_container_engine() -> str | None:
    for engine in filter(shutil.which, ("docker", "podman")):
        if subprocess.run([engine, "info"], capture_output=True).returncode == 0:
            return None
    return "no container engine"


def no_environment(name: str) -> Callable[[], str | None]:
    ready = ROOT / f".venv-{name}" / f"ready-{name}"
    return lambda: None if ready.exists() else f"no .venv-{name}: bash run_all.sh setup --with {name}"


NEEDS: dict[str, Callable[[], str | None]] = {
    "gpu": no_gpu,
    "images": no_container_engine,
    "npu": no_environment("npu"),
    "vllm": no_environment("vllm"),
    "browser": no_environment("browser"),
    "transformers4": no_environment("transformers4"),
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers():
        missing = NEEDS[mark.name]() if mark.name in NEEDS else None
        if missing:
            pytest.skip(missing)


def not_excused(report: Any) -> bool:
    """Whether this is a skip that CI must not let pass."""
    if not (os.environ.get("CI") and report.skipped) or hasattr(report, "wasxfail"):
        return False
    reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
    return not any(re.search(excuse, reason) for excuse in MAY_BE_MISSING)


def fail(report: Any) -> None:
    report.outcome = "failed"
    report.longrepr = f"skipped in CI, where nothing may be missing: {report.longrepr}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if not_excused(report):
        fail(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    report = yield
    if not_excused(report):
        fail(report)
    return report
