"""`danlu data check`: every bad row by file, line and field, what is odd, and what can be mended."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

ALL_BAD, FEW = 1000, 5  # bad rows, and remarks, of one kind that are shown unless --limit says otherwise
READING = [
    click.option(
        "--fields", multiple=True, metavar="OURS=THEIRS", help="Which of their keys stands for ours."
    ),
    click.option(
        "--encoding",
        default="auto",
        show_default=True,
        type=click.Choice(["auto", "utf-8", "gb18030"]),
        help="How bytes stand for characters; auto: told from them.",
    ),
    click.option(
        "--text-by",
        default="line",
        show_default=True,
        type=click.Choice(["line", "paragraph", "file"]),
        help="What one text of a .txt file is.",
    ),
]
"""How files are to be read: options that `danlu data show` has too."""


def reading_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say how files are read."""
    for option in reversed(READING):
        command = option(command)
    return command


def reading_of(fields: tuple[str, ...], encoding: str, text_by: str) -> Any:
    """Return what the options say of how files are read."""
    from danlu.base.errors import UserError
    from danlu.data.fields import Names
    from danlu.data.formats import Reading

    table = {}
    for pair in (pair for word in fields for pair in word.split(",")):
        ours, equals, theirs = pair.partition("=")
        if not (ours and equals and theirs):
            raise UserError(
                f"--fields: '{pair}' is no pair", "--fields ours=theirs, such as --fields text=body"
            )
        table[ours.strip()] = theirs.strip()
    Names(table)  # what names nothing is a wrong call
    return Reading(table, encoding, text_by)


@click.command(name="check")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--for", "purpose", metavar="PURPOSE", help="pretrain, chat, prompt ...; else whatever rows serve."
)
@click.option(
    "--against", multiple=True, metavar="PATH", help="Rows that must not be among them: a test set."
)
@click.option("--seq-len", type=click.IntRange(min=1), help="Say what does not fit into so many tokens.")
@click.option("--tokenizer", default="starter", show_default=True, metavar="DIR", help="What counts tokens.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option(
    "--quarantine", metavar="FILE", help="Write the bad rows there, each with its place and problem."
)
@click.option("--fix", is_flag=True, help="Write NAME.fixed.jsonl beside each file, mended without guessing.")
@click.option("--force", is_flag=True, help="Let --fix replace a NAME.fixed.jsonl that is there.")
@click.option("--strict", is_flag=True, help="A remark counts as bad.")
@click.option(
    "--limit", type=click.IntRange(min=0), metavar="N", help="Show N findings of each kind; 0: all."
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
    from danlu.base.errors import pick
    from danlu.data.lint import report
    from danlu.data.lint.findings import BAD, REMARK, Findings
    from danlu.data.lint.mending import Mending, fixed, need_free
    from danlu.data.lint.quarantine import quarantine_for
    from danlu.data.lint.survey import Options, Survey
    from danlu.data.records import PURPOSES
    from danlu.tokenizer.tokenizer import Tokenizer

    if purpose is not None:
        pick("purpose of data", purpose, PURPOSES)
    options = Options(purpose, seq_len, reading_of(fields, encoding, text_by))
    kept = {BAD: ALL_BAD, REMARK: FEW} if limit is None else {BAD: limit, REMARK: limit}
    survey = Survey(options, Tokenizer.load(tokenizer), Findings(kept))
    mended: list[Any] = []
    with contextlib.ExitStack() as stack:
        aside = stack.enter_context(quarantine_for(quarantine, paths)) if quarantine else None
        if fix:
            for path in filter(Path.is_file, map(Path, paths)):
                need_free(fixed(path), force)
        else:
            survey.on_bad = aside
        survey.read(paths)
        survey.read(against, against=True)
        survey.finish()
        if fix:
            mended = Mending(options, force, survey.unsaid, aside).mend(paths)
    if as_json:
        for piece in report.as_json(survey, strict, mended):
            click.echo(piece, nl=False)
    else:
        for line in report.lines(survey, strict, mended):
            click.echo(line)
    sys.exit(report.code(survey, strict))
