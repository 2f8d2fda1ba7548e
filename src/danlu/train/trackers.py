"""Trackers: other places that like to show a run. Each reads the rows of `metrics.jsonl`, nothing else.

    danlu train pretrain ... trackers=tensorboard
    danlu train pretrain ... trackers=[tensorboard,wandb]

A run that goes on later goes on in the same record. Without a key for their service, W&B and SwanLab
keep the run beside it, to be sent later; what they offer to set by environment (WANDB_MODE,
SWANLAB_MODE, keys, projects) stays theirs.
"""

from __future__ import annotations

import importlib
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from danlu.base import config, paths
from danlu.base.errors import UserError, pick
from danlu.base.log import say


class Tracker(Protocol):
    """What a place to show a run must offer."""

    def log(self, step: int, values: Mapping[str, float]) -> None: ...
    def close(self) -> None: ...


class TensorBoard:
    """Event files in the run's folder: `tensorboard --logdir runs` shows all of them."""

    module = "torch.utils.tensorboard"
    package = "tensorboard"

    def __init__(self, module: Any, run_dir: Path) -> None:
        self._open = lambda step: module.SummaryWriter(str(run_dir / "tensorboard"), purge_step=step)
        self._writer: Any = None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if self._writer is None:
            self._writer = self._open(step)  # what an earlier, longer try wrote from here on is void
        for key, value in values.items():
            if key not in ("step", "time"):
                self._writer.add_scalar(key, value, step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class Wandb:
    """Weights & Biases."""

    module = "wandb"
    package = "wandb"

    def __init__(self, module: Any, run_dir: Path) -> None:
        self._run = module.init(
            project=os.environ.get("WANDB_PROJECT", "danlu"),
            name=title(run_dir),
            dir=str(run_dir),
            id=_identity(run_dir / "wandb-id"),
            resume="allow",
            config=_config(run_dir),
            mode=_offline("WANDB_MODE", "WANDB_API_KEY", "wandb", Path.home() / ".netrc"),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


class SwanLab:
    """SwanLab."""

    module = "swanlab"
    package = "swanlab"

    def __init__(self, module: Any, run_dir: Path) -> None:
        self._swanlab = module
        mode = _offline("SWANLAB_MODE", "SWANLAB_API_KEY", "swanlab", Path.home() / ".swanlab" / ".netrc")
        # Only its service knows a run again; each try kept here is a record of its own.
        again = {} if mode else {"id": _identity(run_dir / "swanlab-id"), "resume": "allow"}
        module.init(
            project=os.environ.get("SWANLAB_PROJ_NAME", "danlu"),
            experiment_name=title(run_dir),
            logdir=str(run_dir / "swanlab"),
            config=_config(run_dir),
            mode=mode,
            **again,
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._swanlab.log(dict(values), step=step)

    def close(self) -> None:
        self._swanlab.finish()


TRACKERS: dict[str, Any] = {"tensorboard": TensorBoard, "wandb": Wandb, "swanlab": SwanLab}


def open_trackers(names: Sequence[str], run_dir: Path) -> list[Tracker]:
    """Return the trackers called `names`, or say which package one of them wants."""
    kinds = [TRACKERS[pick("tracker", name, TRACKERS)] for name in names]
    modules = []
    for kind in kinds:
        try:
            modules.append(importlib.import_module(kind.module))
        except ImportError:
            raise UserError(
                f"trackers: {kind.package} is not installed", f"pip install {kind.package}"
            ) from None
    return [kind(module, run_dir) for kind, module in zip(kinds, modules, strict=True)]


def title(run_dir: Path) -> str:
    """Return what a run is called where several are seen: its last two folders."""
    return "/".join(Path(run_dir).absolute().parts[-2:])


def _identity(path: Path) -> str:
    """Return the run's own word, made once; both services take 21 small letters and digits."""
    if not path.exists():
        paths.write_text(path, secrets.token_hex(11)[:21])
    return path.read_text(encoding="utf-8").strip()


def _config(run_dir: Path) -> dict[str, Any]:
    file = run_dir / "config.yaml"
    return config.flat(config.read(file)) if file.exists() else {}


def _offline(mode: str, key: str, service: str, keys: Path) -> str | None:
    """Return `offline` where the service could not be asked, None to let it decide; never let it prompt."""
    known = keys.exists() and service in keys.read_text(encoding="utf-8", errors="replace")
    if os.environ.get(mode) or os.environ.get(key) or known:
        return None
    say(f"trackers: no key for {service}; this run stays here ('{service} sync' sends it later)")
    return "offline"
