"""`danlu tokenizer report`: what a tokenizer is worth."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from danlu.tokenizer_texts import Texts, options


@click.command(name="report")
@click.argument("folder", metavar="DIR")
@options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(folder: str, as_json: bool, **given: Any) -> None:
    """Measure the tokenizer in DIR ('starter' is the shipped one): compression, round trips, streams.

    DIR is any folder with a tokenizer.json. Compression is told for Chinese, English, code and mixed
    text, of small samples or of --text, whose kinds are told from their signs. All planes of Unicode
    are encoded and decoded, emoji and code are shown token by token, control tokens are typed.
    Leaves with exit code 1 if something that must come back does not; WordPiece vocabularies do not
    promise it.

    \b
    danlu tokenizer report starter
    danlu tokenizer report my-tokenizer --text corpus.jsonl --json
    """
    from danlu.tokenizer.report import lines, measure
    from danlu.tokenizer.tokenizer import Tokenizer

    texts = Texts(**given)
    report = measure(Tokenizer.load(folder), texts or None)
    click.echo(json.dumps(report.as_dict(), ensure_ascii=False) if as_json else "\n".join(lines(report)))
    if report.failures:
        sys.exit(1)
