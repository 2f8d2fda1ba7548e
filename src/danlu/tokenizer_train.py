"""`danlu tokenizer train`: a vocabulary from text of yours, or the starter one again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from danlu.base.errors import UserError
from danlu.tokenizer_out import refuse_more
from danlu.tokenizer_texts import Texts, options

if TYPE_CHECKING:
    from danlu.tokenizer.tokenizer import Tokenizer


@click.command(name="train")
@options
@click.option("--size", default=2048, show_default=True, metavar="N", help="Number of tokens, exactly.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder to write.")
@click.option(
    "--special",
    multiple=True,
    metavar="TOKEN",
    help="A control token beside <|endoftext|>, <|im_start|>, <|im_end|>. Repeatable.",
)
@click.option("--force", is_flag=True, help="Replace another tokenizer in DIR.")
def command(size: int, out: Path | None, special: tuple[str, ...], force: bool, **given: Any) -> None:
    """Learn a byte-level BPE vocabulary of exactly --size tokens from --text, and print a report on it.

    The ids 0, 1 and 2 are <|endoftext|> (padding, unknown), <|im_start|> (begin) and <|im_end|> (end);
    then come those of --special, the 256 bytes, and what the text taught. The same text gives the same
    files. Of more than 25 million characters, rows evenly spread are taken that hold about so many, so
    that memory stays bounded; --sample-rows takes another number. Without --text it is the starter
    tokenizer that is made again, byte for byte. Leaves with exit code 1 if the report finds a failure.

    \b
    danlu tokenizer train --text corpus.jsonl chats.jsonl --size 6400 --out my-tokenizer
    danlu tokenizer train --text wiki.txt.gz --size 32000 --sample-rows 2000000 --out my-tokenizer
    """
    from danlu.base import paths
    from danlu.base.log import say
    from danlu.starter import corpus
    from danlu.tokenizer.report import lines, measure
    from danlu.tokenizer.tokenizer import STARTER
    from danlu.tokenizer.train import check, train

    texts = Texts(**given)
    if texts and out is None:
        raise UserError("where shall the tokenizer go?", "--out DIR")
    out = out or STARTER
    check(size, special)
    paths.need_writable(out)
    refuse_more(out)
    _refuse_another(out, size, force)
    made = train(texts.enough() if texts else corpus.texts(), size, special, progress=sys.stderr.isatty())
    if _holds(out) and not force and _load(out).fingerprint != made.fingerprint:
        raise _another(out)
    made.save(out)
    say(f"{out}: {made.size} tokens")
    report = measure(_load(out))
    click.echo("\n".join(lines(report)))
    if report.failures:
        sys.exit(1)


def _holds(folder: Path) -> bool:
    return (folder / "tokenizer.json").exists()


def _load(folder: Path) -> Tokenizer:
    from danlu.tokenizer.tokenizer import Tokenizer

    return Tokenizer.load(folder)


def _refuse_another(out: Path, size: int, force: bool) -> None:
    """Refuse, before any work, to replace a tokenizer that is surely another one."""
    if _holds(out) and not force and _load(out).size != size:
        raise _another(out)


def _another(out: Path) -> UserError:
    return UserError(f"{out}: holds another tokenizer", "another --out, or --force to replace it")
