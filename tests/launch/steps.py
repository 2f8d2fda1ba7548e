"""How the tests ask the launchers what a step needs and would do."""

from __future__ import annotations

from pathlib import Path

from shell import said

PYTHON = ".venv/bin/python -m"
CPU = {"ACCELERATOR": "cpu"}
SOURCES = "source launch/weights.sh; source launch/serving.sh; source launch/engine.sh"


def tell(clone: Path, code: str, **env: str) -> str:
    """What a piece of bash says that has read what makes weights and serves them."""
    return said(f"{SOURCES}; {code}", clone, **env)
