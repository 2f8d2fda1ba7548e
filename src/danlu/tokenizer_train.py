"""`danlu tokenizer train`: a vocabulary from text of yours, or the starter one again."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="train")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--size", default=2048, show_default=True, help="Number of tokens.")
@click.option("--text", multiple=True, type=click.Path(path_type=Path), help="Text files to learn from.")
def command(out: Path | None, size: int, text: tuple[Path, ...]) -> None:
    """Learn a byte-level BPE vocabulary of exactly --size tokens from --text.

    Without --text it is the starter tokenizer that is made again, byte for byte.

    \b
    danlu tokenizer train --text corpus.txt --size 6400 --out my-tokenizer
    """
    from danlu.base.log import say
    from danlu.starter import corpus
    from danlu.tokenizer.tokenizer import STARTER
    from danlu.tokenizer.train import lines, train

    out = out or STARTER
    tokenizer = train(lines(list(text)) if text else corpus.texts(), size)
    tokenizer.save(out)
    say(f"{out}: {tokenizer.size} tokens")
