"""`danlu plot RUN...`: loss, learning rate and throughput of one run or several, in one picture.

    danlu plot runs/pretrain_512/20261121-093000
    danlu plot runs/baseline runs/wider --out compare.png

Reads `metrics.jsonl` and nothing else, so a run can be looked at while it is going on, on a host
without torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from danlu import picture
from danlu.base.errors import UserError
from danlu.train import metrics


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--out", default="plot.png", show_default=True, help="The picture to write; .svg and .pdf work too."
)
def command(runs: tuple[str, ...], out: str) -> None:
    """Draw loss, learning rate and throughput of runs into one picture.

    RUN is a run's folder, or one that holds several: then the newest of them.
    """
    files = [find(run) for run in runs]
    curves = [read(file) for file in files]
    picture.draw(curves, names([file.parent for file in files]), Path(out))
    click.echo(out)


def find(run: str) -> Path:
    """Return the metrics file of a run, or of the newest run in a folder of runs."""
    path = Path(run)
    inside = (
        [path]
        if path.is_file()
        else [path / metrics.FILE, *sorted(path.glob(f"*/{metrics.FILE}"), reverse=True)]
    )
    for file in inside:
        if file.is_file():
            return file
    known = sorted({str(file.parent) for file in Path("runs").glob(f"*/*/{metrics.FILE}")})
    hint = "one of: " + ", ".join(known[-5:]) if known else "the folder of a run, such as runs/<name>/<time>"
    raise UserError(f"{run}: holds no {metrics.FILE}", hint)


def read(file: Path) -> list[dict[str, Any]]:
    """Return the rows of a run that has begun."""
    rows = metrics.read(file)
    if not any(row.get("loss") is not None or row.get("valid_loss") is not None for row in rows):
        raise UserError(f"{file}: holds no step yet", "wait for the run's first steps")
    return rows


def names(folders: list[Path]) -> list[str]:
    """Return a name for each run: short, or with its time where two would be alike."""
    short = [metrics.label(folder) for folder in folders]
    return [
        name if short.count(name) == 1 else f"{name} · {folder.absolute().name}"
        for name, folder in zip(short, folders, strict=True)
    ]
