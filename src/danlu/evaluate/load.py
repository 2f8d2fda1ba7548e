"""The model to be tried: finished weights, the newest checkpoint of a run, or one checkpoint.

out/full_sft_512/                             finished weights
runs/full_sft_512/20261121-093000/            a run, under way or done: its newest whole checkpoint
runs/full_sft_512/20261121-093000/step-000500 that checkpoint
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from danlu.base import config
from danlu.base.errors import UserError
from danlu.checkpoint import gather, store
from danlu.generate import load, packed, profile
from danlu.generate.profile import Profile
from danlu.generate.prompt import context
from danlu.hub import models
from danlu.model import config as model_config
from danlu.model.decoder import Decoder
from danlu.tokenizer.tokenizer import Tokenizer


def load_model(folder: str | Path, device: str = "auto", dtype: str = "auto") -> tuple[Decoder, Tokenizer]:
    """Return the model and the tokenizer that a folder stands for."""
    folder = Path(folder)
    step = store.whole_step(folder, load.suggestion(folder))
    if step is None:
        return load.load_model(folder, device, dtype)
    settings = config.read(step.parent / "config.yaml")
    cfg = model_config.resolve(settings["model"])
    model = load.empty(cfg, device, dtype)
    fill(model, step)
    packed.pack(model)
    source = settings.get("tokenizer") or settings.get("from") or "starter"
    return model, load.checked(Tokenizer.load(models.folder(source)), cfg, step)


def stage_of(folder: str | Path) -> str:
    """Return the stage that made a model, "" where nothing tells."""
    return str(provenance(folder).get("stage", ""))


def provenance(folder: str | Path) -> dict[str, Any]:
    """Return where a model comes from, nothing where nothing tells."""
    folder = Path(folder)
    settings = (folder.parent if folder.name.startswith("step-") else folder) / "config.yaml"
    return load.lineage(config.read(settings)) if settings.is_file() else load.provenance(folder)


def profile_of(folder: str | Path, model: Decoder, tokenizer: Tokenizer) -> Profile:
    """Return how a model is served: as its folder says, or, of a run, as its export will say."""
    folder = Path(folder)
    if (folder / "config.json").is_file():
        return profile.read(folder)
    return profile.of(
        tokenizer,
        architecture="",
        dtype=str(model.head_weight.dtype).removeprefix("torch."),
        max_model_len=context(model),
        stop_token_ids=sorted(load.ends(folder, tokenizer)),
        provenance=provenance(folder),
    )


@torch.no_grad()
def fill(model: Decoder, step: Path) -> None:
    """Copy a checkpoint's weights into a model, one tensor at a time."""
    wanted: dict[str, Tensor] = dict(model.state_dict())
    for name, tensor in gather.read_full(step, "model"):
        if name not in wanted or wanted[name].shape != tensor.shape:
            raise UserError(
                f"{step}: {name} does not fit the model in config.yaml", "choose another checkpoint"
            )
        wanted.pop(name).copy_(tensor)
    if wanted:
        raise UserError(f"{step}: {next(iter(wanted))} is missing", "choose another checkpoint")
