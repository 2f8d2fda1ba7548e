"""`python -m convert experts`: stack the experts of a folder, or write them one by one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from convert import manifest, options
from convert.export import check_apart, check_free, full_disk_told
from convert.progress import progress
from danlu import __version__
from danlu.base import paths
from danlu.base.errors import UserError
from danlu.base.log import say
from danlu.generate.load import check_folder
from danlu.model import layout
from danlu.model.config import read_hf
from danlu.model.disk import INDEX
from danlu.model.laid import STACKS, Laid
from danlu.model.layout import Target
from danlu.model.shards import write

NOT_COPIED = ("*.safetensors", "*.bin", INDEX, "*.index.json", "manifest.json")

SERVING = ("README.md", "serve.json")  # which tell how to serve, and stacks are not served


@click.command()
@click.argument("way", type=click.Choice(["merge", "split"]))
@click.argument("folder", type=click.Path(path_type=Path))
@options.out
@options.shard_size
def command(way: str, folder: Path, out: Path, shard_size: int) -> None:
    """Write FOLDER, weights of a mixture of experts, with its experts in another arrangement.

    \b
    merge   all experts of a layer in two stacks: mlp.experts.gate_up_proj, mlp.experts.down_proj
    split   one by one, as published checkpoints have them: mlp.experts.0.gate_proj.weight ...

    Both ways round give the same bits again. `danlu` and transformers 5 read either; vLLM and transformers 4
    read split ones.

    \b
    python -m convert experts merge out/full_sft_512_moe --out out/merged
    """
    check_folder(folder)
    check_apart(out, folder)
    check_free(out)
    cfg = read_hf(folder)
    if cfg.moe is None:
        raise UserError(f"{folder}: has no experts", "weights of a mixture of experts")
    laid = Laid(folder, cfg)
    stacks = [name for name in layout.shapes(cfg) if name.endswith(STACKS)]
    targets = layout.plan(laid.family, cfg, stacks if way == "merge" else ())
    size = sum(stored.nbytes for stored in laid.disk.stored.values())
    left_out = NOT_COPIED + (SERVING if way == "merge" else ())
    with full_disk_told(out, size), paths.whole_folder(out) as aside:
        for file in folder.iterdir():
            if file.is_file() and not any(file.match(pattern) for pattern in left_out):
                shutil.copy(file, aside)
        digests = _write(laid, targets, aside, shard_size)
        manifest.write(aside, about(folder, way), digests)
    arranged = "in stacks" if way == "merge" else "one by one"
    say(f"{out}: {cfg.moe.num_experts} experts a layer, {arranged}, every bit as it was")


def about(folder: Path, way: str) -> dict[str, Any]:
    """Return what the manifest says of where a folder is from."""
    source = {"path": str(folder), "kind": "weights"}
    return {"made_by": f"danlu {__version__}", "arranged": way, "source": source}


def _write(laid: Laid, targets: dict[str, Target], folder: Path, shard_size: int) -> dict[str, str]:
    """Write the tensors of a plan, each number as it was stored; zeros only where they were stored."""
    kept = layout.Once(laid)
    targets = {name: one for name, one in targets.items() if one.pieces or name in laid.names}
    described = {name: (one.shape, _number(laid, one)) for name, one in targets.items()}
    size = sum(layout.size(one) * described[name][1].itemsize for name, one in targets.items())
    paths.need_space(folder, size)

    def pieces(name: str) -> Iterator[Tensor]:
        yield layout.build(targets[name], kept, described[name][1])

    with progress("writing", size) as done:
        return write(folder, described, pieces, shard_size, done).sha256


def _number(laid: Laid, target: Target) -> torch.dtype:
    if target.pieces:
        return layout.dtype_of(target, laid)
    return laid.disk.stored[laid.names[target.name]].dtype
