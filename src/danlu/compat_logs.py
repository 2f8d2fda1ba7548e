"""`danlu compat logs`: the known failures in log files, counted, with cause and next step.

The knowledge is `configs/failures.yaml`, which the launchers' translator reads too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from danlu.base.errors import UserError
from danlu.chat import language

LOGS = (".log", ".txt", ".out", ".err")


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILES...")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines to read.")
@click.option("--top", default=12, show_default=True, type=click.IntRange(1), help="Show so many.")
@click.option(
    "--min-count", default=1, show_default=True, type=click.IntRange(1), help="Said so often at least."
)
@click.option("--lang", type=click.Choice(["en", "zh"]), default=None, help="Language. [$LANG]")
def command(files: tuple[str, ...], as_json: bool, top: int, min_count: int, lang: str | None) -> None:
    """Name the known failures in log FILES, most frequent first: cause, and what to do.

    A folder stands for every log in it and below (.log, .txt, .out, .err).

    \b
    danlu compat logs runs/full_sft_512
    danlu compat logs plog/ train.log --top 5 --json
    """
    paths = find(files)
    found = [one for one in count(paths, language(lang or "auto")) if one["count"] >= min_count][:top]
    if as_json:
        told = {"files": [str(path) for path in paths], "failures": found}
        click.echo(json.dumps(told, ensure_ascii=False, indent=2))
        return
    for one in found:
        click.echo(f"{click.style(one['name'], bold=True)}  {one['count']}x, first {one['first']}")
        click.echo(f"  {one['line'].strip()[:160]}\n  {one['cause']}\n  try: {one['next']}\n")
    if not found:
        click.echo(f"nothing known in {len(paths)} file(s)")


def find(files: tuple[str, ...]) -> list[Path]:
    """Return the files that were named, those of folders too."""
    paths = []
    for name in files:
        path = Path(name)
        if path.is_dir():
            paths += sorted(one for one in path.rglob("*") if one.suffix in LOGS and one.is_file())
        elif path.is_file():
            paths.append(path)
        else:
            raise UserError(f"{name}: no such file", "a log, or a folder with logs")
    return paths


def count(paths: list[Path], language: str) -> list[dict[str, Any]]:
    """Return each known failure in these files, most frequent first, those last that say little."""
    from danlu.device import failures

    found: dict[str, dict[str, Any]] = {}
    for path in paths:
        for one in failures.explain(failures.lines(path.read_text(encoding="utf-8", errors="replace"))):
            entry = {
                "name": one.failure.name,
                "count": 0,
                "first": f"{path}:{one.number}",
                "line": one.line,
                "cause": one.failure.cause(language),
                "next": one.failure.next(language),
                "vague": one.failure.vague,
            }
            found.setdefault(one.failure.name, entry)["count"] += one.count
    return sorted(found.values(), key=lambda entry: (entry["vague"], -entry["count"]))
