"""The compose files as tests read them: a service with all it extends, the variables a file names."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from shell import ROOT

FOLDER = ROOT / "compose"
DEVICES = {"cpu": "cpu", "cuda": "cuda", "ascend": "npu"}
FILES = [ROOT / "compose.yaml", *sorted(FOLDER.glob("*.yaml"))]
VARIABLE = re.compile(r"\$\{(\w+)(:?-([^}]*))?\}")


@cache
def read(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def merged(under: Any, over: Any) -> Any:
    """What compose makes of a value and the one that extends it."""
    if isinstance(under, dict) and isinstance(over, dict):
        return under | {
            key: merged(under[key], value) if key in under else value for key, value in over.items()
        }
    if isinstance(under, list) and isinstance(over, list):
        return [*under, *(item for item in over if item not in under)]
    return over


def service(path: Path, name: str) -> dict[str, Any]:
    """A service with all that it extends."""
    own = dict(read(path)["services"][name])
    if source := own.pop("extends", None):
        own = merged(service(path.parent / source["file"], source["service"]), own)
    return own


def services(device: str) -> dict[str, dict[str, Any]]:
    path = FOLDER / f"{device}.yaml"
    return {name: service(path, name) for name in read(path)["services"]}


def variables(text: str) -> dict[str, set[str]]:
    """Every variable of a text and the defaults it has there."""
    found: dict[str, set[str]] = {}
    for name, given, default in VARIABLE.findall(text):
        found.setdefault(name, set()).add(default if given else "no default")
    return found


def passed_on() -> set[str]:
    """The names in all compose files that are handed on as they are: keys without a value."""
    found: set[str] = set()

    def look(value: Any) -> None:
        if isinstance(value, dict):
            found.update(key for key, inner in value.items() if inner is None)
            for inner in value.values():
                look(inner)

    for path in FILES:
        look(read(path))
    return found


def without_comments(path: Path) -> str:
    """A file's text without its comments."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))
