"""`danlu data convert`: rows of any known shape as plain rows of ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from danlu.base.errors import UserError
from danlu.data.records import PURPOSES
from danlu.reading_options import reading_of, reading_options

if TYPE_CHECKING:
    from danlu.data.sources import Source


@click.command(name="convert")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE.jsonl", help="To write.")
@click.option("--for", "purpose", type=click.Choice(PURPOSES), help="What the rows are for; else any.")
@click.option("--flat-tools", is_flag=True, help="Write tools and calls out as text of the chat.")
@click.option("--max-tokens", type=click.IntRange(min=1), metavar="N", help="Leave out longer rows.")
@click.option(
    "--tokenizer",
    default="starter",
    show_default=True,
    metavar="DIR",
    help="Tokenizer folder, with its template.",
)
@click.option(
    "--max-rows", type=click.IntRange(min=1), metavar="N", help="Stop after as many converted rows."
)
@click.option("--mix", multiple=True, metavar="PATH", help="Ordinary rows to mix in; may be given again.")
@click.option(
    "--mix-ratio", type=click.FloatRange(min=0), metavar="R", help="How many for each converted row."
)
@click.option("--seed", default=42, show_default=True, help="Which ordinary rows come when.")
@click.option(
    "--on-bad-row",
    type=click.Choice(["refuse", "skip"]),
    default="refuse",
    show_default=True,
    help="Stop at the first, or leave them out and count them.",
)
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@reading_options
def command(
    paths: tuple[str, ...],
    out: Path,
    purpose: str | None,
    flat_tools: bool,
    max_tokens: int | None,
    tokenizer: str,
    max_rows: int | None,
    mix: tuple[str, ...],
    mix_ratio: float | None,
    seed: int,
    on_bad_row: str,
    force: bool,
    fields: tuple[str, ...],
    encoding: str,
    text_by: str,
) -> None:
    """Write rows of any known shape as plain rows of ours, one JSON line each.

    The shape is told from the keys of each row: alpaca, belle, sharegpt, hermes, glaive, xlam, hh-rlhf,
    dpo and many more. What comes out is one way to write each kind:

    \b
      {"text"}                    {"chosen": [...], "rejected": [...]}
      {"messages", "tools"}       {"messages", "gt"}       {"text", "label"}

    With --flat-tools chats are {"conversations": [{"role", "content"}]}: tools, calls and thoughts become
    the text that the tokenizer's template writes for them, so that a model reads the very same tokens.

    FILE appears when all is written, or not at all; one that is there stays, unless --force is given.
    A bad row is refused by file and line.

    \b
    danlu data convert alpaca.json --for chat --out data/sft.jsonl
    danlu data convert glaive.json xlam.json --flat-tools --max-tokens 512 --max-rows 10000 \\
        --mix data/sft.jsonl --mix-ratio 0.2 --out data/tools.jsonl
    danlu data convert feedback.jsonl --for preference --on-bad-row skip --out data/dpo.jsonl
    """
    from danlu.base.log import say
    from danlu.data.convert import Wish, convert
    from danlu.data.outputs import need_free
    from danlu.data.sources import Source
    from danlu.tokenizer.tokenizer import Tokenizer

    _check(out, mix, mix_ratio)
    reading = reading_of(fields, encoding, text_by)
    source = Source(paths, purpose, reading)
    ordinary = Source(mix, purpose, reading) if mix else None
    need_free("--out", out, _files(source, ordinary), force)
    wish = Wish(
        tokenizer=Tokenizer.load(tokenizer) if flat_tools or max_tokens else None,
        max_tokens=max_tokens,
        flat=flat_tools,
        max_rows=max_rows,
        skip_bad=on_bad_row == "skip",
        mix_ratio=mix_ratio or 0.0,
        seed=seed,
    )
    counts = convert(source, out, wish, ordinary)
    for line in counts.lines(wish):
        say(line)
    say(f"{out}: {counts.written + counts.mixed:,} rows")


def _check(out: Path, mix: tuple[str, ...], mix_ratio: float | None) -> None:
    if out.suffix != ".jsonl":
        raise UserError(f"--out {out}: rows are written as JSON lines", f"--out {out.with_suffix('.jsonl')}")
    if out.is_dir():
        raise UserError(f"--out {out}: is a folder", "name a file in it")
    if bool(mix) != (mix_ratio is not None):
        given, lacking = ("--mix", "--mix-ratio") if mix else ("--mix-ratio", "--mix")
        raise UserError(f"{given} is given without {lacking}", "give both: --mix FILE --mix-ratio 0.2")


def _files(*sources: Source | None) -> list[Path]:
    """Return the files of all sources."""
    return [file.path for source in sources if source is not None for file in source.files]
