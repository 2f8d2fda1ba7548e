"""Floor 5: the stages, one idea each, and the way from a word to one of them.

A configuration file names its stage in the key `stage`; several files may share one (`reason` is
`sft` with other values).
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from danlu.base import config, paths
from danlu.base.errors import UserError, nearest

STAGES = {
    "pretrain": "danlu.stages.pretrain",
    "sft": "danlu.stages.sft",
}

NO_STAGES = {"matrix", "failures"}
"""Configurations that are no stage's."""

ALIASES = {"full_sft": "sft", "distillation": "distill"}


def find(word: str) -> tuple[Path, str]:
    """Return the configuration file that `word` means, and the stage it names."""
    path = Path(word)
    if path.suffix not in (".yaml", ".yml"):
        names = sorted(file.stem for file in paths.configs().glob("*.yaml") if file.stem not in NO_STAGES)
        name = ALIASES.get(word, word)
        if name not in names:
            raise UserError(f"there is no stage '{word}'", nearest(word, names))
        path = paths.configs() / f"{name}.yaml"
    stage = config.read(path).get("stage")
    if stage not in STAGES:
        raise UserError(f"{path}: stage: found {stage!r}", nearest(str(stage), STAGES))
    return path, stage


def load_stage(name: str) -> ModuleType:
    """Return the module of a stage: its `Config` and its `main`."""
    return importlib.import_module(STAGES[name])
