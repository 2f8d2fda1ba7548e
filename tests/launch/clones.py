"""Clones whose launchers really run: their own files, this clone's environment under another path.

clone = working_clone(folder)         launch/, configs/, run_all.sh; no data, no weights
small_starter(clone)                  a starter set of a few rows, learned in seconds
"""

from __future__ import annotations

import re
import shutil
import subprocess
import venv
from pathlib import Path

from shell import CLEAN, ROOT, said, small_clone

PARTS = "base convert data serve test"
LINKED = ("src", "convert", "bench", "tests/base", "tests/conftest.py")
ROWS = 160


def working_clone(folder: Path) -> Path:
    """Make a clone in `folder` that looks set up to its launchers, and is."""
    clone = small_clone(folder)
    venv.create(clone / ".venv", symlinks=True)
    # What is installed there is seen, and cannot be changed: pip writes into the twin alone.
    (site_packages(clone / ".venv") / "shared.pth").write_text(
        f"import site; site.addsitedir({str(site_packages(ROOT / '.venv'))!r})\n", encoding="utf-8"
    )
    for name in LINKED:
        (clone / name).parent.mkdir(exist_ok=True)
        (clone / name).symlink_to(ROOT / name)
    (clone / ".venv/clone").write_text(f"{clone}\n", encoding="utf-8")
    said(f"for part in {PARTS}; do KIND=cpu mark_ready .venv $part; done", clone)
    return clone


def site_packages(environment: Path) -> Path:
    (found,) = environment.glob("lib/python3*/site-packages")
    return found


def small_starter(clone: Path) -> None:
    """The starter's data and recipes, so small that each of its stages takes a dozen steps."""
    starter = clone / "data/starter"
    write = [clone / ".venv/bin/python", "-m", "danlu", "data", "starter", "--out", starter]
    subprocess.run(write, check=True, cwd=clone, env=CLEAN, capture_output=True)
    for file in starter.glob("*.jsonl"):
        rows = file.read_text(encoding="utf-8").splitlines(keepends=True)
        file.write_text("".join(rows[:ROWS]), encoding="utf-8")
    for recipe in (clone / "configs/starter").glob("*.yaml"):
        text = recipe.read_text(encoding="utf-8")
        for key, value in {"compile": "false", "batch_tokens": "1024", "save_every": "3"}.items():
            text, found = re.subn(rf"(?m)^{key}: .*$", f"{key}: {value}", text)
            assert found == 1, f"{recipe.name} has no {key}"
        recipe.write_text(text, encoding="utf-8")


def copy_clone(clone: Path, folder: Path) -> Path:
    """Copy a clone, with what was made in it and the times of that; it looks set up in its new place too."""
    shutil.copytree(clone, folder, symlinks=True)
    (folder / ".venv/clone").write_text(f"{folder}\n", encoding="utf-8")
    said(f"for part in {PARTS}; do KIND=cpu mark_ready .venv $part; done", folder)
    return folder
