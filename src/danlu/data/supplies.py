"""The supply a configuration asks for: mapped, streamed, or a mixture of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from danlu.base.errors import UserError
from danlu.base.log import say
from danlu.data import recipe
from danlu.data.encoded import encoded_by
from danlu.data.mixture import Mixture
from danlu.data.prepared import are_prepared
from danlu.data.ramp import Ramp
from danlu.data.recipe import Recipe
from danlu.data.streamed import Encoding, Streamed
from danlu.data.supply import Mapped, Supply


def open_supply(
    paths: Sequence[str | Path],
    mixture: Recipe | None,
    encoding: Encoding,
    streamed: bool,
    ramp: Ramp,
    width: int,
    seed: int,
    shuffle: bool,
) -> Supply:
    """Return what gives the samples of files, of a mixture's file, or of a mixture.

    A mixture whose weights follow the steps is told how large these are: `ramp` rows of `width` tokens,
    or, with width 0, of one sample.
    """
    if recipe.is_recipe(paths):
        if len(paths) > 1:
            names = ", ".join(map(str, paths))
            raise UserError(f"{names}: a mixture's file stands alone", "name the files in it")
        mixture = recipe.read(paths[0])
    if mixture is None or not mixture.sources:
        return _one(paths, encoding, streamed, seed, shuffle)
    supplies = [
        _one(
            part.paths,
            encoding,
            streamed if part.streamed is None else part.streamed,
            seed + number,
            shuffle,
        )
        for number, part in enumerate(mixture.sources)
    ]
    return Mixture(
        mixture, supplies, lambda step: ramp.rows(step) * (width or 1), seed, shuffle, by_samples=not width
    )


def _one(paths: Sequence[str | Path], encoding: Encoding, streamed: bool, seed: int, shuffle: bool) -> Supply:
    if streamed and are_prepared(paths):
        say(f"{', '.join(map(str, paths))}: is encoded already, so it is not streamed")
    elif streamed:
        return Streamed(paths, encoding, seed, shuffle)
    samples = encoded_by(encoding.encoder, paths, encoding.on_bad_row, encoding.workers)
    return Mapped(samples, seed, shuffle)
