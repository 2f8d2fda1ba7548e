"""The stream: an endless or counted sequence of optimiser steps, each a list of micro-batches.

    stream = open_stream(["corpus.jsonl"], "pretrain", tokenizer, seq_len=512, ...)
    for micro_batches in stream: ...
    saved = stream.state_dict()

The state is three numbers (epoch, window, row) and what they refer to. It tells what was handed out,
not what a thread has prepared, so a stream that goes on from a saved state gives bit for bit what the
first one would have given, also on another number of ranks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from danlu.base.errors import UserError
from danlu.base.log import say
from danlu.data.ahead import Ahead
from danlu.data.batch import Batch
from danlu.data.deal import Cursor, Dealer
from danlu.data.encode import Options
from danlu.data.encoded import encoded
from danlu.data.packing import WINDOW, Plan
from danlu.data.samples import Samples
from danlu.tokenizer.tokenizer import Tokenizer


class Stream:
    """Steps of one data set for one rank: an iterator of lists of micro-batches."""

    def __init__(
        self,
        samples: Samples,
        *,
        seq_len: int,
        rows_per_step: int,
        micro_batch: int,
        rank: int = 0,
        ranks: int = 1,
        seed: int = 0,
        packing: bool = True,
        epochs: int | None = None,
        shuffle: bool = True,
        window: int = WINDOW,
        pad_id: int = 0,
        prefetch: int = 2,
    ) -> None:
        self.samples = samples
        self.plan = Plan(samples, seq_len, seed, packing, shuffle, window)
        self.rows_per_step = rows_per_step
        self.epochs = epochs
        self._dealer = Dealer(samples, self.plan, rows_per_step, micro_batch, rank, ranks, pad_id)
        self._prefetch = prefetch
        self._cursor = Cursor()
        self._coming: Iterator[tuple[list[Batch], Cursor]] | None = None
        self._identity = {
            "data": samples.key,
            "samples": len(samples),
            "seq_len": seq_len,
            "seed": seed,
            "packing": packing,
            "shuffle": shuffle,
            "window_size": window,
        }

    @property
    def epoch(self) -> int:
        """How many times all samples were handed out."""
        return self._cursor.epoch

    @property
    def mean_context(self) -> float:
        """How many tokens before it a token sees on average."""
        return self.samples.mean_context

    @property
    def steps_per_epoch(self) -> int:
        """Steps that the first epoch takes; packing makes others differ by a few rows."""
        return -(-self.plan.count_rows(0) // self.rows_per_step)

    @property
    def total_steps(self) -> int | None:
        """Steps of all epochs together, or None if there is no end."""
        if self.epochs is None:
            return None
        return -(-sum(map(self.plan.count_rows, range(self.epochs))) // self.rows_per_step)

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
        return {**self._cursor._asdict(), **self._identity}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state, which must be of the same data in the same order."""
        for key, mine in self._identity.items():
            if state.get(key) != mine:
                what = "the files, the tokenizer or their encoding" if key == "data" else key
                raise UserError(
                    f"the checkpoint stands in other data: {what} was {state.get(key)!r} and is {mine!r}",
                    "the data and keys of that run; or begin a new run with from= its weights",
                )
        self.close()
        self._cursor = Cursor(state["epoch"], state["window"], state["row"])

    def close(self) -> None:
        """Drop what was prepared ahead."""
        if isinstance(self._coming, Ahead):
            self._coming.close()
        self._coming = None

    def where(self, row: int) -> str:
        """Return the file and line of a record named by a batch's `rows`."""
        return self.samples.where(row)


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
    packing: bool = True,
    epochs: int | None = None,
    shuffle: bool = True,
    tag_weight: float = 1.0,
    prefetch: int = 2,
) -> Stream:
    """Return the stream of some files: "pretrain" rows or "chat" rows, encoded now or found in the cache.

    A step holds `batch_tokens // seq_len` rows over all ranks, a micro-batch `micro_batch` of them.
    """
    rows_per_step = batch_tokens // seq_len
    if rows_per_step < 1:
        raise UserError(
            f"batch_tokens: {batch_tokens} is less than one row of seq_len={seq_len}",
            f"batch_tokens={seq_len} or more",
        )
    if rows_per_step < ranks:
        say(f"batch_tokens: {rows_per_step} rows a step leave {ranks - rows_per_step} of {ranks} ranks idle")
    samples = encoded(paths, kind, tokenizer, Options(seq_len, tag_weight))
    return Stream(
        samples,
        seq_len=seq_len,
        rows_per_step=rows_per_step,
        micro_batch=micro_batch,
        rank=rank,
        ranks=ranks,
        seed=seed,
        packing=packing,
        epochs=epochs,
        shuffle=shuffle,
        pad_id=tokenizer.pad_id,
        prefetch=prefetch,
    )
