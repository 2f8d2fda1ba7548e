"""`danlu data show`: samples as a model sees them, and what it learns of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from danlu.reading_options import reading_of, reading_options

if TYPE_CHECKING:
    from danlu.data.lint.view import View
    from danlu.data.lint.walk import Met
    from danlu.tokenizer.tokenizer import Tokenizer


@click.command(name="show")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("-n", "count", type=click.IntRange(min=1), help="How many rows: 3, or 1 with --row.")
@click.option("--row", type=click.IntRange(min=1), metavar="LINE", help="Begin with the row of this line.")
@click.option("--random", "seed", type=int, metavar="SEED", help="Any rows, chosen by this seed.")
@click.option("--for", "purpose", metavar="PURPOSE", help="pretrain, chat, prompt ...; else what rows are.")
@click.option("--tokenizer", default="starter", show_default=True, metavar="DIR", help="Tokenizer folder.")
@click.option("--seq-len", type=click.IntRange(min=1), help="Show where samples are cut.")
@click.option("--tokens", is_flag=True, help="Part the tokens, and list their ids.")
@click.option("--no-color", is_flag=True, help="Marks instead of colours; so is a pipe, and NO_COLOR.")
@click.option("--stage", default="sft", show_default=True, help="Stage whose weights count: sft or reason.")
@reading_options
def command(
    paths: tuple[str, ...],
    count: int | None,
    row: int | None,
    seed: int | None,
    purpose: str | None,
    tokenizer: str,
    seq_len: int | None,
    tokens: bool,
    no_color: bool,
    stage: str,
    fields: tuple[str, ...],
    encoding: str,
    text_by: str,
) -> None:
    """Print samples as a model sees them; what it learns to say is in colour, or in ⟦marks⟧.

    \b
    danlu data show data/sft.jsonl                      the first three rows
    danlu data show data/sft.jsonl --row 17 --tokens    one row, token by token
    danlu data show data/rl.jsonl --for prompt --random 1
    """
    from rich.console import Console

    from danlu.base.errors import UserError, pick
    from danlu.data.encode import Options
    from danlu.data.lint.measure import ENDLESS
    from danlu.data.lint.painting import LEGEND
    from danlu.data.records import PURPOSES
    from danlu.tokenizer.tokenizer import Tokenizer

    if row is not None and (seed is not None or len(paths) > 1):
        other = "--random" if seed is not None else "several files"
        raise UserError(f"--row {row} does not go with {other}", "one file and --row, or --random")
    if purpose is not None:
        pick("purpose of data", purpose, PURPOSES)
    console = Console(soft_wrap=True, highlight=False, no_color=no_color or None)
    plain = no_color or console.no_color or not console.is_terminal
    options = Options(seq_len or ENDLESS, weight_of_tags(stage))
    loaded = Tokenizer.load(tokenizer)
    if plain:
        click.echo(LEGEND)
    reading = reading_of(fields, encoding, text_by)
    for met in chosen(paths, purpose, reading, count or (3 if row is None else 1), row, seed):
        show(met, loaded, options, None if plain else console, tokens)


def weight_of_tags(stage: str) -> float:
    """Return what the tokens of tags weigh in a stage."""
    import yaml

    from danlu.base import paths
    from danlu.base.errors import pick

    pick("stage that learns from chats", stage, ("sft", "reason"))
    settings = yaml.safe_load((paths.configs() / f"{stage}.yaml").read_text(encoding="utf-8"))
    return float(settings.get("tag_weight", 1.0))


def chosen(
    paths: tuple[str, ...], purpose: str | None, reading: Any, count: int, row: int | None, seed: int | None
) -> list[Met]:
    """Return the rows to show."""
    import itertools
    import random

    from danlu.base.errors import UserError

    rows = every_row(paths, purpose, reading)
    if seed is not None:
        dice = random.Random(seed)
        kept: list[tuple[int, Met]] = []
        for number, met in enumerate(rows):
            if len(kept) < count:
                kept.append((number, met))
            elif (place := dice.randrange(number + 1)) < count:  # Vitter 1985, algorithm R
                kept[place] = number, met
        return [met for _, met in sorted(kept, key=lambda each: each[0])]
    if row is not None:
        rows = itertools.dropwhile(lambda met: met.line < row, rows)
    found = list(itertools.islice(rows, count))
    if row is not None and (not found or found[0].line != row):
        raise UserError(f"{paths[0]}:{row}: there is no row", "the line of a row; blank lines have none")
    return found


def every_row(paths: tuple[str, ...], purpose: str | None, reading: Any) -> Iterator[Met]:
    """Yield all rows; a file that cannot be read is an error here."""
    from danlu.base.errors import UserError
    from danlu.data.lint import walk
    from danlu.data.lint.findings import Finding

    for opened in walk.files(paths, purpose, reading):
        if isinstance(opened, Finding):
            raise UserError(f"{opened.file}: {opened.what}", opened.remedy)
        for met in walk.rows(*opened):
            if isinstance(met, Finding):
                raise UserError(f"{met.file}: {met.what}", met.remedy)
            yield met


def show(met: Met, tokenizer: Tokenizer, options: Any, console: Any, tokens: bool) -> None:
    """Print one row; `console` is None where there are no colours."""
    from danlu.base.errors import UserError
    from danlu.data.lint.painting import listed, marked, painted
    from danlu.data.lint.view import views
    from danlu.data.rows import BadRow

    if isinstance(met.record, BadRow):
        click.echo(f"\n{met.file}:{met.line}: {met.record}; {met.record.hint}")
        return
    try:
        seen = views(met.record, tokenizer, options)
    except UserError as error:
        raise UserError(f"{met.file}:{met.line}: {error.problem}", error.hint) from None
    for view in seen:
        place = click.style(f"\n{met.file}:{met.line}  {met.shape}", bold=True)
        click.echo(f"{place}  {sizes(view, tokenizer)}")
        if view.title:
            click.echo(view.title)
        if console is None:
            click.echo(marked(view, tokenizer, tokens))
        else:
            console.print(painted(view, tokenizer, tokens))
        if tokens:
            click.echo(listed(view, tokenizer))


def sizes(view: View, tokenizer: Tokenizer) -> str:
    """Return how much there is to read and to learn."""
    from danlu.data.lint.view import runs

    said = [run for run in runs(view, tokenizer) if not run.control]
    characters, tokens = sum(len(run.text) for run in said), sum(run.last - run.first for run in said)
    learned = int((view.weights > 0).sum())
    unread = int((~view.read).sum())
    return (
        f"{len(view.ids):,} tokens, {learned:,} learned"
        + (f", {unread:,} not read" if unread else "")
        + (f", {characters / tokens:.2f} characters per token" if tokens else "")
    )
