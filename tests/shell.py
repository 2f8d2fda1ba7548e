"""Bash as the launchers use it, for tests: a line of it in, what it said out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
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


def ready_clone(folder: Path) -> Path:
    """Another clone, which looks set up: its Python is this one, and no part of it is missing."""
    clone = small_clone(folder)
    python = clone / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.symlink_to(shutil.which("python3") or "python3")
    said("for part in base serve convert test; do KIND=cpu mark_ready .venv $part; done", clone)
    return clone


def finish(clone: Path, name: str, run: str = "runs/other", layers: int = 8, **more: object) -> Path:
    """Put finished weights that hold no weights into a clone; the name tells their width and kind."""
    folder = clone / "out" / name
    folder.mkdir(parents=True, exist_ok=True)
    width = next((word for word in name.split("_") if word.isdigit()), "512")
    shape = {"hidden_size": int(width), "num_hidden_layers": layers} | more
    if name.endswith("_moe"):
        shape["num_experts"] = 4
    (folder / "config.json").write_text(json.dumps(shape, indent=2), encoding="utf-8")
    (folder / "run.json").write_text(json.dumps({"run_dir": run}, indent=2), encoding="utf-8")
    later(folder / "config.json", folder / "run.json", folder)
    return folder


def export(clone: Path, name: str) -> Path:
    """Put an export of such weights beside them."""
    folder = finish(clone, f"{name}-hf")
    (folder / "serve.json").write_text("{}", encoding="utf-8")
    later(folder / "serve.json")
    return folder


_clock = time.time() - 10_000


def later(*files: Path) -> None:
    """Let files be newer than all that were made before, by a second."""
    global _clock
    _clock += 1
    for file in files:
        os.utime(file, (_clock, _clock))


def plan(clone: Path, words: str, **env: str) -> str:
    """What a command would run, one line each."""
    done = call("bash", "-c", f"bash run_all.sh --dry-run {words}", cwd=clone, **env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().replace(" \n", "\n")


def problem(clone: Path, words: str, **env: str) -> str:
    """What a command says that ends with 2."""
    done = call("bash", "-c", f"bash run_all.sh {words}", cwd=clone, **env)
    assert done.returncode == 2, (done.stdout, done.stderr)
    return done.stderr
