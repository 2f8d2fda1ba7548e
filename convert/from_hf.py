"""`python -m convert from-hf`: bring in a model of any known family."""

from __future__ import annotations

from pathlib import Path

import click

from convert import options
from convert.export import Order, export
from danlu.base.log import say


@click.command()
@click.argument("source")
@options.out
@options.shard_size
@options.tokenizer
@options.brought_check
def command(source: str, out: Path, shard_size: int, tokenizer: Path | None, check: str) -> None:
    """Bring in SOURCE, a folder of Hugging Face's layout or a name on a hub, as finished weights of ours.

    What comes out can be trained (from=OUT), talked to and exported; every number stays as it is stored.
    The check compares each tensor bit for bit, and our answers with those of transformers reading SOURCE
    itself. `danlu train` takes SOURCE as it is (model=SOURCE); this proves first that it is read right.

    \b
    python -m convert from-hf downloads/Qwen3-0.6B --out out/qwen3
    python -m convert from-hf hf://Qwen/Qwen3-0.6B --out out/qwen3
    """
    order = Order(source, out, None, shard_size=shard_size, check=check, brought_in=True, tokenizer=tokenizer)
    made = export(order)
    if "tokenizer.json" not in made["files"]:
        say(options.WORDLESS)
