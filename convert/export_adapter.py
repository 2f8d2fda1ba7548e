"""Write a LoRA adapter as PEFT has it, so that vLLM serves it beside its base model."""

from __future__ import annotations

import json
from pathlib import Path

from convert import manifest
from convert.adapter import CONFIG, WEIGHTS, Adapter
from convert.checks.tensors import same_bits
from convert.export import check_free, full_disk_told
from danlu import __version__
from danlu.base import paths
from danlu.base.errors import UserError
from danlu.base.log import say
from danlu.model.disk import Disk
from danlu.model.shards import write


def export_adapter(folder: Path, out: Path) -> None:
    """Write an adapter's files anew, every tensor accounted for."""
    adapter = Adapter(folder)
    if adapter.replaced:
        problem = f"{folder}: {min(adapter.replaced)}: was trained whole, no adapter to a server"
        raise UserError(problem, "to-hf BASE --adapter, which merges it")
    if out.resolve() == folder.resolve():
        raise UserError(f"--out: {out}: is what is being read", "another folder")
    check_free(out)
    size = sum(stored.nbytes for stored in adapter.disk.stored.values())
    paths.need_space(out, size)
    with full_disk_told(out, size), paths.whole_folder(out) as aside:
        described = {name: (stored.shape, stored.dtype) for name, stored in adapter.disk.stored.items()}
        write(aside, described, lambda name: iter([adapter.disk.get(name)]))
        (aside / "model.safetensors").rename(aside / WEIGHTS)
        written = Disk(aside / WEIGHTS)
        for name in adapter.disk:
            if not same_bits(written.get(name), adapter.disk.get(name)):
                raise UserError(f"{out}: {name}: was not written as it is", "another disk")
        (aside / CONFIG).write_text(json.dumps(adapter.config, indent=2) + "\n", encoding="utf-8")
        manifest.write(aside, {"made_by": f"danlu {__version__}", "source": {"path": str(folder)}}, {})
    say(f"{out}: an adapter of {len(adapter.factors)} weights; vllm serve BASE --lora-modules NAME={out}")
