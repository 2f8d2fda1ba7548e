"""`python -m convert to-hf`: export for transformers and vLLM."""

from __future__ import annotations

from pathlib import Path

import click

from convert import options
from convert.adapter import is_adapter
from convert.export import Order, export
from convert.export_adapter import export_adapter
from danlu.base.errors import UserError


@click.command()
@click.argument("source")
@options.out
@options.dtype_option(default="bfloat16", show_default=True, help="Number format of the weights.")
@options.adapter
@options.arch
@options.shard_size
@options.check
def command(
    source: str, out: Path, dtype: str, adapter: Path | None, arch: str, shard_size: int, check: str
) -> None:
    """Export SOURCE as the published architecture that it is exactly.

    SOURCE is finished weights, a run's folder, one of its checkpoints (step-...), a folder or hub name of a
    known family, or a LoRA adapter in PEFT's format, which then leaves as an adapter that vLLM serves, every
    bit as it is.

    The folder appears only when everything in it was found to be right, by a process that read it from the
    disk: each tensor recomputed from the source and compared bit for bit, each field, the template, and
    transformers' answers beside the trainer's.

    \b
    python -m convert to-hf out/full_sft_512 --out out/full_sft_512-hf
    python -m convert to-hf runs/pretrain_512/20261121-093000 --out out/now-hf --dtype float32
    python -m convert to-hf out/full_sft_512 --adapter out/lora --out out/merged-hf --check vllm
    """
    if is_adapter(Path(source)):
        if adapter:
            raise UserError(f"{source}: is an adapter itself", "the base model as SOURCE, to merge --adapter")
        export_adapter(Path(source), out)
        return
    export(Order(source, out, options.DTYPES[dtype], adapter, arch, shard_size, check))
