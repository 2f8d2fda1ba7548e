"""`python -m convert to-pth`: write weights as a file that MiniMind's own programs load."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import torch
from torch import Tensor

from convert import minimind, options
from convert.minimind import Hints
from convert.opening import open_source
from convert.recipe import check_range
from convert.source import Source
from danlu.base.errors import UserError
from danlu.base.log import say
from danlu.model import layout
from danlu.model.layout import Unit


@click.command()
@click.argument("source")
@options.out
@click.option(
    "--generation",
    type=click.Choice(["auto", "2", "3"]),
    default="auto",
    help="Of MiniMind; auto: 3 with head norms.",
)
@options.dtype_option(help="Number format; unset: as the source has it.")
def command(source: str, out: Path, generation: str, dtype: str | None) -> None:
    """Write SOURCE, weights or a run, as OUT, one .pth file with MiniMind's names.

    What MiniMind's model cannot be is refused with the reason. The file is read again and compared with
    the source before it appears; the settings that MiniMindConfig needs are printed.

    \b
    python -m convert to-pth out/full_sft_512 --out full_sft_512.pth
    """
    opened = open_source(source)
    check_place(out, opened)
    state = Weights(opened.ours, layout.shapes(opened.cfg), options.DTYPES[dtype] if dtype else None)
    hints = minimind.hints_for(opened.cfg)
    told = minimind.write(state, opened.cfg, out, generation, lambda file: compare(file, state, hints))
    say(f"{out}: {len(state)} weights, read again and equal to the bit")
    print(json.dumps(told, indent=2))


def check_place(out: Path, source: Source) -> None:
    """Refuse to write over what is read, or over anything but an older .pth file."""
    if out.exists() and (out.samefile(source.folder) or out.parent.samefile(source.folder)):
        raise UserError(f"--out: {out}: is what is being read", "another file")
    if out.exists() and (out.is_dir() or out.suffix != ".pth"):
        what = "a folder" if out.is_dir() else "there already"
        raise UserError(f"--out: {out}: is {what}", "a file to be made, such as out/NAME.pth")


class Weights(Mapping[str, Tensor]):
    """Our weights by name, each read when it is asked for."""

    def __init__(
        self, ours: layout.Ours, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype | None
    ) -> None:
        self.ours, self.shapes, self.dtype = ours, shapes, dtype

    def __getitem__(self, name: str) -> Tensor:
        found = self.ours.unit(Unit(name))
        if self.dtype is None:
            return found
        check_range(name, found, self.dtype)
        return found.to(self.dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


def compare(file: Path, state: Mapping[str, Tensor], hints: Hints) -> None:
    """Refuse a file that does not read back as what it was made from."""
    found = minimind.read(file, hints).state
    for name in found.keys() | state.keys():
        if name not in found or name not in state or not torch.equal(found[name], state[name]):
            raise UserError(f"{name}: did not read back as written; nothing was left", "report this")
