"""What a completed run leaves in `out/<name>/`: everything another program needs, whole or not at all.

model.safetensors  config.json        as transformers reads them
tokenizer.json  chat_template.jinja   what the text was split and framed with
run.json                              where it comes from: run, configuration, versions, parent
"""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from danlu import __version__
from danlu.base import paths
from danlu.base.log import say
from danlu.checkpoint import gather
from danlu.hub import models
from danlu.model import weights
from danlu.parallel import mesh

if TYPE_CHECKING:
    from danlu.train.run import Run


def write(run: Run, model: torch.nn.Module) -> None:
    """Gather the weights and put them, with all that belongs to them, into `out`."""
    state = gather.full_state(model)
    if run.world.rank == 0:
        folder = Path(run.cfg.out) / run.name
        paths.need_space(folder, sum(tensor.nbytes for tensor in state.values()))
        with paths.whole_folder(folder) as aside:
            ids = {"bos": run.tokenizer.bos_id, "eos": run.tokenizer.eos_id, "pad": run.tokenizer.pad_id}
            special = {f"{name}_token_id": number for name, number in ids.items()}
            weights.save(state, run.model_cfg, aside, extra=special)
            run.tokenizer.save(aside)
            text = json.dumps(provenance(run), ensure_ascii=False, indent=2)
            (aside / "run.json").write_text(text, encoding="utf-8")
        say(f"finished weights: {folder}")
    mesh.barrier()


def provenance(run: Run) -> dict[str, Any]:
    """Return where these weights come from, and theirs before them."""
    parent = Path(models.folder(run.cfg.from_)) / "run.json" if run.cfg.from_ else None
    return {
        "stage": run.cfg.stage,
        "weight": run.cfg.weight,
        "name": run.name,
        "run_dir": str(run.dir),
        "step": run.step,
        "measured": {key: run.last[key] for key in ("loss", "valid_loss") if key in run.last},
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "danlu": __version__,
        "torch": torch.__version__,
        "device": f"{run.device.kind} ({run.device.name})",
        "host": platform.platform(),
        "ranks": run.world.ranks,
        "tokenizer": run.tokenizer.fingerprint,
        "config": run.resolved.model_dump(mode="json", by_alias=True),
        "from": json.loads(parent.read_text(encoding="utf-8")) if parent and parent.exists() else None,
    }
