"""`danlu data starter`: a small bilingual data set for every stage, written by grammars of our own."""

from __future__ import annotations

import filecmp
import tempfile
from pathlib import Path

import click

from danlu.base.errors import UserError

LONGEST = 40  # characters of a name


@click.command(name="starter")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder to write; it must not exist."
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another seed, other rows."
)
@click.option(
    "--size",
    type=click.Choice(["small", "medium"]),
    default="small",
    show_default=True,
    help="small: the tiny model learns it in minutes; medium: ten times as much.",
)
@click.option(
    "--lang", type=click.Choice(["zh", "en", "both"]), default="both", show_default=True, help="Its language."
)
@click.option("--name", default="", metavar="TEXT", help="What the assistant is called. [丹丹, Dandan]")
@click.option("--maker", default="", metavar="TEXT", help="Who trained it. [丹炉, Danlu]")
@click.option("--quiet", is_flag=True, help="One line for all files.")
def command(out: Path, seed: int, size: str, lang: str, name: str, maker: str, quiet: bool) -> None:
    """Write a small data set for every stage, with held-out twins, to --out.

    The same options give the same bytes everywhere. No question of heldout/ is asked in training, but
    every fact that answers it is told there.

    \b
    danlu data starter --out data
    danlu data starter --out data-en --lang en --name Ada --maker 'my class'
    """
    from danlu.base import paths
    from danlu.base.log import say
    from danlu.starter import dataset
    from danlu.starter.world import LANGUAGES, World

    name, maker = checked("name", name), checked("maker", maker)
    worlds = [World(each, name, maker) for each in LANGUAGES if lang in (each, "both")]
    try:
        if out.is_file() or (out.is_dir() and any(out.iterdir())):
            with tempfile.TemporaryDirectory() as folder:
                again = Path(folder)
                for _ in dataset.write(again, worlds, seed, size):
                    pass
                refuse_others(out, again)
            say(f"{out}: is there already, every file as it would be written")
            return
        rows = size_in_bytes = 0
        with paths.whole_folder(out) as aside:
            for written in dataset.write(aside, worlds, seed, size):
                rows, size_in_bytes = rows + written.rows, size_in_bytes + written.bytes
                if not quiet:
                    place = out / written.path.relative_to(aside)
                    say(f"{place}: {written.rows:,} rows, {written.bytes / 1e6:.2f} MB")
        if quiet:
            say(f"{out}: {rows:,} rows, {size_in_bytes / 1e6:.2f} MB")
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror}", "another --out") from None


def refuse_others(out: Path, again: Path) -> None:
    """Refuse a folder that lacks one of the files just written elsewhere, or has another of its name."""
    for file in sorted(file for file in again.rglob("*") if file.is_file()):
        there = out / file.relative_to(again)
        if not there.is_file() or not filecmp.cmp(there, file, shallow=False):
            problem = "is another file" if there.is_file() else "is not in it"
            raise UserError(
                f"{out}: is not empty, and {file.relative_to(again)} {problem}",
                "another --out, or remove the folder",
            )


def checked(option: str, text: str) -> str:
    """Return a name that fits into one line of a chat."""
    text = text.strip()
    if len(text) > LONGEST or not text.isprintable():
        raise UserError(f"--{option}: {text!r} is no name", f"one line of at most {LONGEST} characters")
    return text
