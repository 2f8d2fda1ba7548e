"""Dockerfiles as tests read them: stages, each with its instructions, continued lines joined.

stages(ROOT / "Dockerfile.cpu")["serve"]      [("ENV", "DANLU_VLLM_PYTHON=python3"), ("WORKDIR", ...), ...]
"""

from __future__ import annotations

import re
from pathlib import Path

from shell import ROOT

FILES = sorted(ROOT.glob("Dockerfile.*"))
Instruction = tuple[str, str]


def instructions(file: Path) -> list[Instruction]:
    """Every instruction of a file: its word, and what follows it."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def stages(file: Path) -> dict[str, list[Instruction]]:
    """The instructions of each stage, by its name; those before the first under the empty name."""
    found: dict[str, list[Instruction]] = {"": []}
    for word, rest in instructions(file):
        if word == "FROM":
            found[rest.split(" AS ")[1]] = []
        list(found.values())[-1].append((word, rest))
    return found


def arguments(file: Path) -> dict[str, str]:
    """What each ARG is where nobody says."""
    given = (rest.partition("=") for word, rest in instructions(file) if word == "ARG" and "=" in rest)
    return {name: value.strip('"') for name, _, value in given}
