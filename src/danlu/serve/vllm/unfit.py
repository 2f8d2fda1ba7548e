"""Why vLLM cannot serve these weights on this host, if it cannot: then the built-in server does.

    unfit(host, model)    "vLLM's attention has no heads of 16 on cpu", or None

Every reason is asked before anything is started: what the matrix says of the host and its chip, what the
profile says of the model, and what the installed vLLM's own table of architectures says.
"""

from __future__ import annotations

import ast
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from danlu.base import matrix
from danlu.device.hosting import Kind
from danlu.serve.vllm.model import Model

REGISTRY = "vllm/model_executor/models/registry.py"
TABLE_NAMES = ("_TEXT_GENERATION_MODELS", "_MULTIMODAL_MODELS", "_TRANSFORMERS_SUPPORTED_MODELS")


@dataclass(frozen=True)
class Host:
    """Where a server would run."""

    kind: Kind
    chip: str
    runtime: str
    """host: an environment of its own; docker: a container."""
    python: Path | None = None
    """Of the environment that has vLLM."""


def unfit(host: Host, model: Model) -> str | None:
    """Return the first reason why vLLM cannot serve this here, or None."""
    return host.kind.unfit(host.chip) or _system(host) or _model(host, model)


def _system(host: Host) -> str | None:
    system = platform.system().lower()
    if host.runtime == "docker" or host.python is not None:
        return None
    if system not in matrix.section("vllm")["systems"].split():
        return f"vLLM has no wheel for {platform.system()}"
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    known = matrix.section("vllm")["python"].split()
    return (
        f"vLLM has no wheel for Python {version}, only for {', '.join(known)}"
        if version not in known
        else None
    )


def _model(host: Host, model: Model) -> str | None:
    widths = matrix.section("vllm").get(f"{host.kind.name}_head_widths", "").split()
    if widths and not model.latent and str(model.head_width) not in widths:
        return f"vLLM's attention on {host.kind.name} has no heads {model.head_width} wide"
    if model.profile.vllm_differs:
        return model.profile.vllm_differs[0]
    known = architectures(host.python) if host.runtime == "host" and host.python else frozenset()
    if known and model.profile.architecture not in known:
        return f"this vLLM does not know {model.profile.architecture}"
    return None


def architectures(python: Path) -> frozenset[str]:
    """Return what the vLLM of an environment serves: its table is read, not imported, for that takes seconds.

    Empty: its table is not where we look, and then vLLM itself must say.
    """
    # Debian and Ubuntu call the folder dist-packages, and have two of them.
    places = (f"{place}lib/python3*/*-packages/{REGISTRY}" for place in ("", "local/"))
    found = sorted(file for place in places for file in python.parent.parent.glob(place))
    if not found:
        return frozenset()
    tables = [
        node.value
        for node in ast.parse(found[0].read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and isinstance(node.value, ast.Dict)
        and _target(node) in TABLE_NAMES
    ]
    keys = [key for table in tables for key in table.keys]
    return frozenset(str(key.value) for key in keys if isinstance(key, ast.Constant))


def _target(node: ast.Assign | ast.AnnAssign) -> str:
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    return target.id if isinstance(target, ast.Name) else ""
