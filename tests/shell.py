"""Bash as the launchers use it, for tests: a line of it in, what it said out."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CLEAN = {
    key: value
    for key, value in os.environ.items()
    if not key.startswith(("DANLU_", "PIP_", "LC_"))
    and key not in ("ACCELERATOR", "DRY_RUN", "HOST_ROOT", "NODES")
    and not key.endswith("_VISIBLE_DEVICES")
} | {"LANG": "C.UTF-8"}


def bash(code: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a piece of bash that has read the launchers' library."""
    libraries = "source launch/lib.sh; source launch/steps.sh; source launch/venv.sh"
    return call("bash", "-c", f"set -Eeuo pipefail; {libraries}; {code}", cwd=cwd, **env)


def call(*command: str | Path, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    nothing = subprocess.DEVNULL
    return subprocess.run(command, cwd=cwd, env=CLEAN | env, stdin=nothing, capture_output=True, text=True)


def said(code: str, cwd: Path = ROOT, **env: str) -> str:
    """What a piece of bash that succeeds prints."""
    done = bash(code, cwd, **env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def refused(code: str, cwd: Path = ROOT, **env: str) -> str:
    """The two lines of a piece of bash that ends with 2."""
    done = bash(code, cwd, **env)
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    return done.stderr.strip()


def small_clone(folder: Path) -> Path:
    """Copy what the launchers need to `folder`: another clone, to change and to break."""
    for name in ("launch", "configs"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("run_all.sh", "danlu", "pyproject.toml"):
        shutil.copy2(ROOT / name, folder / name)
    return folder
