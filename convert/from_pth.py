"""`python -m convert from-pth`: bring in a file of MiniMind's, or an adapter in one."""

from __future__ import annotations

from pathlib import Path

import click

from convert import minimind_lora, options
from convert.export import Order, check_free, export
from convert.minimind import Hints
from danlu.base import paths
from danlu.base.log import say


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@options.out
@options.tokenizer
@click.option("--num-attention-heads", type=int, help="Where no head norm tells; usually 8.")
@click.option("--num-experts-per-tok", type=int, help="Experts a token goes to; usually 2, later 1.")
@click.option("--norm-topk-prob/--no-norm-topk-prob", default=None, help="Whether their shares add up to 1.")
@click.option("--rope-theta", type=float, help="Base of the rotary wavelengths; usually 1e6.")
@click.option("--norm-eps", type=float, help="Of the norms; usually 1e-5, later 1e-6.")
@click.option("--max-position-embeddings", type=int, help="Longest text; usually 32768.")
@click.option("--rope-scaling", is_flag=True, default=None, help="As with --inference_rope_scaling there.")
@options.brought_check
def command(file: Path, out: Path, tokenizer: Path | None, check: str, **known: float | None) -> None:
    """Bring in FILE, a .pth of MiniMind's: dense or a mixture of experts, of any generation, or its LoRA.

    The file holds weights and nothing else; what its tensors do not tell is taken from its generation's
    defaults, and said. Nothing in the file is run. An adapter becomes one in PEFT's format.

    \b
    python -m convert from-pth minimind/out/full_sft_768.pth --out out/minimind
    python -m convert from-pth minimind/out/lora_identity_512.pth --out out/lora_identity
    """
    if not minimind_lora.holds_model(file):
        _adapter(file, out)
        return
    hints = Hints(**known)  # type: ignore[arg-type]
    order = Order(str(file), out, None, check=check, brought_in=True, hints=hints, tokenizer=tokenizer)
    if "tokenizer.json" not in export(order)["files"]:
        say(options.WORDLESS)


def _adapter(file: Path, out: Path) -> None:
    check_free(out)
    lora = minimind_lora.read_lora(file)
    with paths.whole_folder(out) as aside:
        minimind_lora.write_lora(lora, aside)
    say(f"{out}: an adapter of rank {lora.rank} on {len(lora.pairs)} weights, in PEFT's format")
