"""`danlu data check`: every bad row by file, line and field, what is odd, and what can be mended."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from danlu.data.records import PURPOSES
from danlu.reading_options import reading_of, reading_options

if TYPE_CHECKING:
    from danlu.data.lint.mending import Mended
    from danlu.data.lint.quarantine import Aside
    from danlu.data.lint.survey import Options, Survey

ALL_BAD, FEW = 1000, 5  # bad rows, and remarks, of one kind that are shown unless --limit says otherwise


@click.command(name="check")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--for", "purpose", type=click.Choice(PURPOSES), help="What the rows are for; else whatever they serve."
)
@click.option(
    "--against", multiple=True, metavar="PATH", help="Rows that must not be among them: a test set."
)
@click.option("--seq-len", type=click.IntRange(min=1), help="Say what does not fit into so many tokens.")
@click.option("--tokenizer", default="starter", show_default=True, metavar="DIR", help="Tokenizer folder.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option(
    "--quarantine", metavar="FILE", help="Write the bad rows there, each with its place and problem."
)
@click.option("--fix", is_flag=True, help="Write NAME.fixed.jsonl beside each file, mended without guessing.")
@click.option("--force", is_flag=True, help="Let --fix and --quarantine replace files that are there.")
@click.option("--strict", is_flag=True, help="A remark counts as bad.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    metavar="N",
    help=f"Show N findings of each kind; 0: all. [{ALL_BAD} bad rows, {FEW} remarks]",
)
@reading_options
def command(
    paths: tuple[str, ...],
    purpose: str | None,
    against: tuple[str, ...],
    seq_len: int | None,
    tokenizer: str,
    as_json: bool,
    quarantine: str | None,
    fix: bool,
    force: bool,
    strict: bool,
    limit: int | None,
    fields: tuple[str, ...],
    encoding: str,
    text_by: str,
) -> None:
    """Report every bad row by file, line and field, and what is odd.

    Bad is what training refuses; the rest are remarks: duplicates, rows of --against that leaked, broken
    characters, rows that are too long or teach nothing. Exit code 0: nothing bad; 1: something bad (with
    --strict: or odd); 2: a wrong call.

    \b
    danlu data check data/sft.jsonl --for chat --seq-len 512
    danlu data check train.jsonl --against valid.jsonl --strict
    danlu data check raw.jsonl --fix --quarantine bad.jsonl
    """
    from danlu.data.lint import report
    from danlu.data.lint.survey import Options

    options = Options(purpose, seq_len, reading_of(fields, encoding, text_by))
    survey, mended = _found(paths, against, options, tokenizer, limit, Wish(quarantine, fix, force))
    if as_json:
        for piece in report.as_json(survey, strict, mended):
            click.echo(piece, nl=False)
    else:
        for line in report.lines(survey, strict, mended):
            click.echo(line)
    sys.exit(report.code(survey, strict))


class Wish(NamedTuple):
    """What is to be written."""

    quarantine: str | None
    fix: bool
    force: bool


def _found(
    paths: Sequence[str],
    against: Sequence[str],
    options: Options,
    tokenizer: str,
    limit: int | None,
    wish: Wish,
) -> tuple[Survey, list[Mended]]:
    """Return what was found in the rows, and what became of the files; a wrong call is refused before."""
    from danlu.data.lint import walk
    from danlu.data.lint.mending import outputs
    from danlu.data.lint.quarantine import quarantine_for
    from danlu.data.outputs import need_free

    survey = _survey(options, tokenizer, limit)
    files, others = walk.resolved(paths), walk.resolved(against)
    written = list(outputs(files).values()) if wish.fix else []
    for out in written:
        need_free("--fix", out, [*files, *others], wish.force)
    with contextlib.ExitStack() as stack:
        aside = None
        if wish.quarantine:
            taken = [*files, *others, *written]
            aside = stack.enter_context(quarantine_for(wish.quarantine, taken, wish.force))
        survey.on_bad = None if wish.fix else aside
        survey.read(files)
        survey.read(others, against=True)
        survey.finish()
        return survey, _mend(survey, files, aside, wish.force) if wish.fix else []


def _survey(options: Options, tokenizer: str, limit: int | None) -> Survey:
    """Return what looks at rows, with nothing seen yet."""
    from danlu.data.lint.findings import BAD, REMARK, Findings
    from danlu.data.lint.survey import Survey
    from danlu.tokenizer.tokenizer import Tokenizer

    kept = {BAD: ALL_BAD, REMARK: FEW} if limit is None else {BAD: limit, REMARK: limit}
    return Survey(options, Tokenizer.load(tokenizer), Findings(kept))


def _mend(survey: Survey, files: Sequence[Path], aside: Aside | None, force: bool) -> list[Mended]:
    """Write the files of a survey again, and set aside what cannot be mended."""
    from danlu.data.lint.mending import Mending

    return Mending(survey.options, force, survey.unsaid, aside).mend(files)
