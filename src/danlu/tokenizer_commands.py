"""`danlu tokenizer`: make, measure and change vocabularies."""

from __future__ import annotations

import click

from danlu.base.commands import Lazy

COMMANDS = {
    "train": ("danlu.tokenizer_train", "Learn a vocabulary from text."),
    "report": ("danlu.tokenizer_report", "Measure a tokenizer: compression by language, round trips."),
    "extend": ("danlu.tokenizer_extend", "Add tokens to a model and its tokenizer."),
    "trim": ("danlu.tokenizer_trim", "Take unused tokens out of a model and its tokenizer."),
}


@click.group(cls=Lazy, table=COMMANDS)
def command() -> None:
    """Make, measure and change vocabularies.

    \b
    danlu tokenizer train --text corpus.jsonl --size 6400 --out my-tokenizer
    danlu tokenizer report my-tokenizer
    """
