"""The stream: an endless or counted sequence of optimiser steps, each a list of micro-batches.

    stream = Stream(Mapped(samples, seed=0), seq_len=512, rows_per_step=64, micro_batch=16)
    for micro_batches in stream: ...
    saved = stream.state_dict()

The state is a handful of numbers (where the supply stands, row, step) and what they refer to. It tells
what was handed out, not what a thread has prepared, so a stream that goes on from a saved state gives
bit for bit what the first one would have given, also on another number of ranks.

How samples become rows:

    packing true      rows of seq_len, several samples in each
            false     rows of seq_len, one sample in each; the rest is padding
            "budget"  one row a micro-batch, as wide as micro_batch * seq_len at most and such that they make
                      up a step: the fewest places are lost
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from danlu.base.errors import UserError
from danlu.base.log import say
from danlu.data.ahead import Ahead
from danlu.data.batch import Batch
from danlu.data.count import count_rows
from danlu.data.deal import Cursor, Dealer
from danlu.data.encode import Options
from danlu.data.formats import Reading
from danlu.data.packing import Packer
from danlu.data.parts import BlockEncoder
from danlu.data.ramp import Ramp
from danlu.data.recipe import Recipe
from danlu.data.streamed import Encoding
from danlu.data.supplies import open_supply
from danlu.data.supply import Supply
from danlu.tokenizer.tokenizer import Tokenizer

Packing = bool | Literal["budget"]


class Stream:
    """Steps of one data set for one rank: an iterator of lists of micro-batches."""

    def __init__(
        self,
        supply: Supply,
        *,
        seq_len: int,
        rows_per_step: int,
        micro_batch: int,
        rank: int = 0,
        ranks: int = 1,
        packing: bool = True,
        epochs: int | None = None,
        ramp: Ramp | None = None,
        pad_id: int = 0,
        prefetch: int = 2,
        accept_changes: bool = False,
    ) -> None:
        self.supply = supply
        self.ramp = ramp or Ramp(rows_per_step)
        self.packer = Packer(seq_len, packing)
        self.epochs = epochs
        self._dealer = Dealer(supply, self.packer, self.ramp, micro_batch, rank, ranks, pad_id)
        self._prefetch = prefetch
        self._accept_changes = accept_changes
        self._cursor = Cursor(supply.start(), tokens=(0,) * len(supply.names))
        self._coming: Iterator[tuple[list[Batch], Cursor]] | None = None
        self._identity = {**supply.identity, "row": seq_len, "packing": packing}

    @property
    def epoch(self) -> int:
        """How many epochs were handed out whole."""
        return self.supply.epoch(self._cursor.position)

    @property
    def mean_context(self) -> float:
        """How many tokens before it a token sees on average."""
        return self.supply.mean_context

    @functools.cached_property
    def total_steps(self) -> int | None:
        """Steps of all epochs together, or None if there is no end or only reading would tell."""
        known = self.epochs is not None and self.supply.size() is not None
        if not known or not self.epochs:
            return None
        return self.ramp.steps_for(count_rows(self.supply, self.packer, self.ramp, self.epochs))

    def shares(self) -> dict[str, float]:
        """Return which share of the tokens handed out each source of a mixture had, as `share.NAME`."""
        total = max(1, sum(self._cursor.tokens))
        return {f"share.{name}": n / total for name, n in zip(self.supply.names, self._cursor.tokens)}

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> list[Batch]:
        if self._coming is None:
            steps = self._dealer.steps(self._cursor, self.epochs)
            self._coming = Ahead(steps, self._prefetch) if self._prefetch else steps
        batches, self._cursor = next(self._coming)
        return batches

    def state_dict(self) -> dict[str, Any]:
        """Return where the stream stands, and in what."""
        return {"cursor": self._cursor.plain(), "of": self._identity}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state, which must be of the same data in the same order.

        With `accept_changes`, other data is begun afresh, at the step of the state.
        """
        self.close()
        cursor = dict(state.get("cursor") or {})
        problem = self._differs(state)
        if not problem:
            self._cursor = Cursor(**{**cursor, "tokens": tuple(cursor["tokens"])})
        elif self._accept_changes and "step" in cursor:
            say(f"the data begins afresh: {problem}")
            step = cursor["step"]
            self._cursor = Cursor(self.supply.start(), 0, step, step, (0,) * len(self.supply.names))
        else:
            hint = "the data and keys of that run, or begin a new run with from= its weights"
            raise UserError(f"the checkpoint stands in other data: {problem}", hint)

    def _differs(self, state: dict[str, Any]) -> str:
        """Return what of the data is not as it was when a state was saved."""
        before = state.get("of", state)
        for key, mine in self._identity.items():
            if before.get(key) != mine:
                what = "the files, the tokenizer or their encoding" if key == "data" else key
                return f"{what} was {before.get(key)!r} and is {mine!r}"
        return ""

    def close(self) -> None:
        """Drop what was prepared ahead, and say what is to be said of the rows."""
        if isinstance(self._coming, Ahead):
            self._coming.close()
        self._coming = None
        self.supply.tell()

    def where(self, row: int) -> str:
        """Return the file and line of a record named by a batch's `rows`."""
        return self.supply.where(row)


def open_stream(
    paths: Sequence[str | Path],
    kind: str,
    tokenizer: Tokenizer,
    *,
    seq_len: int,
    batch_tokens: int,
    micro_batch: int,
    rank: int = 0,
    ranks: int = 1,
    seed: int = 0,
    packing: Packing = True,
    epochs: int | None = None,
    shuffle: bool = True,
    tag_weight: float = 1.0,
    prefetch: int = 2,
    reading: Reading | None = None,
    on_bad_row: str = "refuse",
    workers: int = 0,
    streamed: bool = False,
    mixture: Recipe | None = None,
    warmup: tuple[int, int] = (0, 0),
    accept_changes: bool = False,
) -> Stream:
    """Return the stream of some files, or of a mixture: "pretrain" rows or "chat" rows.

    A step holds `batch_tokens` over all ranks, a micro-batch `micro_batch * seq_len` at most. With `warmup` =
    (tokens, steps), steps grow from so many tokens to all of them.
    """
    width, rows_per_step = seq_len, batch_tokens // seq_len
    if packing == "budget" and rows_per_step:
        width, rows_per_step = _budget(seq_len, batch_tokens, micro_batch)
        micro_batch = 1
    if rows_per_step < 1:
        raise UserError(
            f"batch_tokens: {batch_tokens} is less than one row of seq_len={seq_len}",
            f"batch_tokens={seq_len} or more",
        )
    if rows_per_step < ranks:
        say(f"batch_tokens: {rows_per_step} rows a step leave {ranks - rows_per_step} of {ranks} ranks idle")
    ramp = Ramp(rows_per_step, min(rows_per_step, max(1, warmup[0] // width)), warmup[1])
    encoder = BlockEncoder(kind, tokenizer, Options(seq_len, tag_weight), reading or Reading())
    encoding = Encoding(encoder, on_bad_row, workers)
    supply = open_supply(paths, mixture, encoding, streamed, ramp, width if packing else 0, seed, shuffle)
    if epochs is not None and supply.size() is None:
        raise UserError(
            "steps: is not set, and how many an epoch of streamed data has only reading it all would tell",
            "steps=N: the learning rate needs to know the end; or data.streamed=false",
        )
    return Stream(
        supply,
        seq_len=width,
        rows_per_step=rows_per_step,
        micro_batch=micro_batch,
        rank=rank,
        ranks=ranks,
        packing=bool(packing),
        epochs=epochs,
        ramp=ramp,
        pad_id=tokenizer.pad_id,
        prefetch=prefetch,
        accept_changes=accept_changes,
    )


def _budget(seq_len: int, batch_tokens: int, micro_batch: int) -> tuple[int, int]:
    """Return how wide rows are, none above a micro-batch, and how many make up a step.

    >>> _budget(512, 16384, 6), _budget(512, 2048, 16)
    ((2730, 6), (2048, 1))
    """
    rows = -(-batch_tokens // (seq_len * micro_batch))
    width = max(seq_len, batch_tokens // rows)
    return width, min(rows, batch_tokens // width)
