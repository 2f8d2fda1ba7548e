"""The options that say how files of rows are read, the same for every command that reads some."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from danlu.base.errors import UserError

if TYPE_CHECKING:
    from danlu.data.formats import Reading

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


def reading_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say how files are read: fields, encoding, text_by."""
    for option in reversed(READING):
        command = option(command)
    return command


def reading_of(fields: tuple[str, ...], encoding: str, text_by: str) -> Reading:
    """Return what the options say of how files are read."""
    from danlu.data.fields import Names
    from danlu.data.formats import Reading

    table = {}
    for pair in (pair for word in fields for pair in word.split(",")):
        ours, _, theirs = (word.strip() for word in pair.partition("="))
        if not (ours and theirs):
            raise UserError(f"--fields {pair}: is not OURS=THEIRS", "--fields text=body")
        table[ours] = theirs
    Names(table)  # what names nothing is a wrong call
    return Reading(table, encoding, text_by)
