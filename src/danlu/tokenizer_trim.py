"""`danlu tokenizer trim`: a model and its tokenizer without the words that texts do not use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from danlu.base.errors import UserError
from danlu.tokenizer_out import refuse_there
from danlu.tokenizer_texts import Texts, options


@click.command(name="trim")
@click.argument("model", metavar="MODEL", type=click.Path(path_type=Path))
@options
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Folder to write.")
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    metavar="N",
    help="Keep N tokens: the most used, then the first of the vocabulary. [all that the text uses]",
)
@click.option(
    "--multiple-of",
    default=64,
    type=click.IntRange(min=1),
    metavar="N",
    help="The rows of embedding and head are padded to a multiple of this. [64]",
)
@click.option("--force", is_flag=True, help="Replace finished weights in DIR.")
def command(model: Path, out: Path, keep: int | None, multiple_of: int, force: bool, **given: Any) -> None:
    """Take the tokens that --text does not use out of MODEL (out/NAME, or a Hugging Face folder).

    Kept are control and added tokens, all bytes, what the text and the chat template use, and what the
    merges make on the way there; they are numbered anew in their old order. Text that needs only kept
    tokens is cut as before, and gets the same logits for them, bit for bit; any other text is cut
    into smaller pieces.

    \b
    danlu tokenizer trim Qwen3-0.6B --text corpus.jsonl chats.jsonl --out out/fewer_words
    danlu tokenizer trim Qwen3-0.6B --text corpus.jsonl --keep 32000 --out out/fewer_words
    """
    from danlu.base.log import say
    from danlu.model import vocabulary
    from danlu.tokenizer import surgery

    texts = Texts(**given)
    if not texts:
        raise UserError("which text tells what is used?", "--text FILE")
    refuse_there(out, model, texts.paths(), force)
    cfg, old = vocabulary.checked(model)
    used = surgery.uses(old, texts) + surgery.uses(old, surgery.template_texts(old))
    trimmed = surgery.trim(old, used, keep, vocabulary.token_ids(model))
    new = trimmed.tokenizer
    rows = vocabulary.padded(new.size, multiple_of)
    words = vocabulary.smaller(new, trimmed.kept, rows)
    vocabulary.write(model, out, words, {"by": "trim", "before": old.size})
    say(f"{out}: {new.size:,} of {old.size:,} tokens, {rows:,} of {cfg.vocab_size:,} rows")
