"""The tools' opinion of the whole project: ruff, mypy, shellcheck and shfmt have nothing to say."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHELL = [
    "run_all.sh",
    "danlu",
    ".ci/run",
    *sorted(
        path.relative_to(ROOT).as_posix()
        for folder in ("launch", "compose")
        for path in (ROOT / folder).rglob("*.sh")
    ),
]

TOOLS = {
    "ruff": ["ruff", "check", "--quiet", "."],
    "ruff format": ["ruff", "format", "--quiet", "--check", "--diff", "."],
    "mypy": ["mypy", "--no-error-summary"],
    "shellcheck": ["shellcheck", "--external-sources", *SHELL],
    "shfmt": ["shfmt", "--indent", "2", "--case-indent", "--diff", *SHELL],
}


@pytest.mark.parametrize("tool", TOOLS)
def test_finds_nothing(tool):
    name, *arguments = TOOLS[tool]
    done = subprocess.run(
        [Path(sys.executable).with_name(name), *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
