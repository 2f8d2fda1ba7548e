"""`danlu data`: what can be done with data before a model sees it."""

from __future__ import annotations

import click

from danlu.base.commands import Lazy

COMMANDS = {
    "check": ("danlu.data_check", "Report every bad row by file, line and field, and what is odd."),
    "show": ("danlu.data_show", "Print samples as a model sees them, what is learned in colour."),
    "convert": ("danlu.data_convert", "Write rows of any known shape as plain chat rows."),
    "tools": ("danlu.data_tools", "Write dialogues with tools out of known data sets, checked."),
    "prepare": ("danlu.data_prepare", "Encode any amount of data into shards, once."),
    "starter": ("danlu.data_starter", "Write a small bilingual data set for every stage."),
}


@click.group(cls=Lazy, table=COMMANDS)
def command() -> None:
    """What can be done with data before a model sees it.

    \b
    danlu data starter --out data
    danlu data check data/sft.jsonl
    danlu data show data/sft.jsonl
    """
