"""`danlu tokenizer extend`: more words for a model and its tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from danlu.base.errors import UserError, pick
from danlu.tokenizer_out import refuse_there
from danlu.tokenizer_texts import Texts, options

if TYPE_CHECKING:
    from danlu.tokenizer.surgery import Extended
    from danlu.tokenizer.tokenizer import Tokenizer


@click.command(name="extend")
@click.argument("model", metavar="MODEL", type=click.Path(path_type=Path))
@options
@click.option("--size", type=int, metavar="N", help="Tokens the vocabulary shall have, exactly; with --text.")
@click.option(
    "--tokens",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Words to add, one a line, instead of --text.",
)
@click.option("--special", multiple=True, metavar="TOKEN", help="A control token to add. Repeatable.")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Folder to write.")
@click.option(
    "--init",
    default="mean",
    metavar="WAY",
    help="How new rows begin: the mean of the pieces they replace, that plus noise, or the average of all "
    "rows: mean, noise, average. [mean]",
)
@click.option(
    "--multiple-of",
    default=64,
    type=click.IntRange(min=1),
    metavar="N",
    help="The rows of embedding and head are padded to a multiple of this. [64]",
)
@click.option("--force", is_flag=True, help="Replace finished weights in DIR.")
def command(
    model: Path, size: int | None, tokens: Path | None, special: tuple[str, ...], out: Path, init: str,
    multiple_of: int, force: bool, **given: Any,
) -> None:  # fmt: skip
    """Give MODEL (out/NAME, or a Hugging Face folder) more tokens, and write it to --out.

    With --text and --size, merges are learned from the text and appended to the old ones: old ids and
    old merges stay, and a new token stands exactly for the old ones it replaces. With --tokens (and
    --special, for control tokens) words of your own are added as they are. Old rows of embedding and
    head stay bit for bit, and so does everything else in the model. Train it a little afterwards: new
    rows begin as a guess.

    \b
    danlu tokenizer extend out/full_sft_512 --text poems.jsonl --size 4096 --out out/more_words
    danlu tokenizer extend Qwen3-0.6B --tokens words.txt --out out/more_words
    """
    from danlu.base.log import say
    from danlu.model import vocabulary

    texts = Texts(**given)
    if size is not None and not texts:
        raise UserError("--size says how many tokens --text teaches", "--text FILE, or no --size")
    if bool(texts) == bool(tokens or special):
        raise UserError("what shall be added?", "--text FILE --size N, or --tokens FILE, or --special TOKEN")
    if texts and size is None:
        raise UserError("how many tokens shall there be?", "--size N")
    pick("way to begin", init, vocabulary.INITS)
    refuse_there(out, model, [*texts.paths(), *([tokens] if tokens else [])], force)
    cfg, old = vocabulary.checked(model)
    extended = _extended(old, texts, size, tokens, special)
    new = extended.tokenizer
    rows = max(cfg.vocab_size, vocabulary.padded(new.size, multiple_of))
    words = vocabulary.larger(old, new, extended.pieces, rows, init)
    vocabulary.write(model, out, words, {"by": "extend", "init": init, "before": old.size})
    say(f"{out}: {old.size:,} + {new.size - old.size:,} tokens, {rows:,} rows")


def _extended(
    old: Tokenizer, texts: Texts, size: int | None, tokens: Path | None, special: tuple[str, ...]
) -> Extended:
    from danlu.tokenizer import surgery

    if size is not None:
        return surgery.learn_tokens(old, texts.enough(), size)
    listed = _listed(tokens) if tokens else []
    extended = surgery.add_tokens(old, listed, special)
    if not extended.pieces:
        raise UserError("every one of these tokens is there already", "others")
    return extended


def _listed(file: Path) -> list[str]:
    """Return the words of a file, one a line."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read: {error}", "a UTF-8 file with one word a line") from None
    words = [line.strip() for line in lines if line.strip()]
    if not words:
        raise UserError(f"{file}: names no words", "one a line")
    return words
