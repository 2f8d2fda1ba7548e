"""Parquet: rows by rank, read a few pages at a time, from any row group on.

What is broken within a row group costs the rest of that group, which is one bad row; a file whose end,
where its directory stands, is missing cannot be read at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from danlu.base.errors import UserError
from danlu.data import formats
from danlu.data.formats import Block, Reading, Unreadable
from danlu.data.formats.columns import arrow, parts, words
from danlu.data.rows import START, BadRow, Place


class Parquet:
    """A Parquet file."""

    def __init__(self, path: Path, reading: Reading) -> None:
        self.path = path
        arrow()

    def blocks(self, place: Place = START) -> Iterator[Block]:
        pa = arrow()
        try:
            file = arrow("pyarrow.parquet").ParquetFile(
                self.path, buffer_size=formats.BLOCK, pre_buffer=False
            )
        except (OSError, pa.ArrowException) as error:
            raise UserError(
                f"{self.path}: is no whole Parquet file: {words(error)}", "fetch or write it again"
            ) from None
        with file:
            number = 0
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if number + rows > place.number:
                    yield from self._group(file, group, number, max(number, place.number))
                number += rows
            if not number:
                yield Unreadable(START, START, BadRow("", "the table has no rows", "put rows in it"))

    def _group(self, file: Any, group: int, number: int, begin: int) -> Iterator[Block]:
        about = file.metadata.row_group(group)
        rows = max(1, about.num_rows * formats.BLOCK // max(1, about.total_byte_size))
        end = number + about.num_rows
        try:
            for batch in file.iter_batches(batch_size=rows, row_groups=[group], use_threads=False):
                yield from parts(number, batch, begin)
                number += batch.num_rows
        except (OSError, arrow().ArrowException) as error:
            problem = f"rows {number + 1} to {end} cannot be read: {words(error)}"
            yield Unreadable(
                Place(number, number), Place(end, end), BadRow("", problem, "fetch or write the file again")
            )
