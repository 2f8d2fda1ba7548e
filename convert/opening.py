"""What a path stands for, opened.

    out/full_sft_512/                             finished weights, or any folder a family is known of
    runs/full_sft_512/20261121-093000/            a run: its newest whole checkpoint
    runs/full_sft_512/20261121-093000/step-000500 that checkpoint, gathered from its shards while reading
    out/full_sft_512.pth                          a file of MiniMind's
    hf://owner/name                               a model of a hub, fetched first

Each kind's module is imported when one comes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from convert.meaning import differences
from convert.reading import read_json
from convert.source import Source, words_of
from danlu.base.errors import UserError
from danlu.generate import load
from danlu.hub import models
from danlu.model import config as model_config
from danlu.model.families import FAMILIES, OURS, get, to_hf
from danlu.model.laid import Laid
from danlu.model.shape import ModelConfig

if TYPE_CHECKING:
    from convert.minimind import Hints


def open_source(named: str | Path, hints: Hints | None = None, words: Path | None = None) -> Source:
    """Return the model that a path or a name on a hub stands for; `hints` tell what no .pth file does.

    `words` is a folder with the tokenizer of a model that has none, or none that is read here.
    """
    if Path(named).suffix == ".pth":
        from convert import source_pth

        return source_pth.opened(str(named), hints, words)
    hub = models.named(str(named))
    if hub:
        model_config.read_hf(models.described(hub))  # refused before its weights are fetched
    folder = models.whole(hub) if hub else Path(named)
    if folder.name.startswith("step-") or (folder / "config.yaml").is_file():
        from convert import source_step

        return source_step.opened(str(named), folder, words)
    load.check_folder(folder)
    cfg = model_config.read_hf(folder)
    check_unchanged(folder, cfg)
    laid = Laid(folder, cfg)
    return Source(
        str(named),
        folder,
        "finished weights" if load.provenance(folder) else f"weights of {laid.family.architecture}",
        cfg,
        laid,
        laid.disk.dtypes(),
        words_of(folder, cfg, trained=True) if words is None else words_of(words, cfg, required=True),
        load.provenance(folder),
    )


def check_unchanged(folder: Path, cfg: ModelConfig) -> None:
    """Refuse a config.json of ours in which others read another model by now than our section says."""
    described = read_json(folder / "config.json")
    if OURS not in described or described.get("model_type") not in FAMILIES:
        return
    for key, found, wanted in differences(described, to_hf(cfg, get(described["model_type"]))):
        problem = f"{folder}/config.json: {key}: was changed to {found!r}, it was trained as {wanted!r}"
        raise UserError(
            problem, f"change it back; or remove the section '{OURS}', to export what it says now"
        )
