"""Arrow: the stream and the file form of its own format, which the folders of `save_to_disk` hold too.

The file is mapped, not read, so that beginning at a row far behind costs a walk over the batches' heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from danlu.base.errors import UserError
from danlu.data.formats import Block, Reading, Unreadable
from danlu.data.formats.columns import arrow, parts, words
from danlu.data.rows import START, BadRow, Place

AGAIN = "fetch or write the file again"


class Arrow:
    """An Arrow file, in the form of a stream or of a file."""

    def __init__(self, path: Path, reading: Reading) -> None:
        self.path = path
        arrow()

    def blocks(self, place: Place = START) -> Iterator[Block]:
        pa = arrow()
        number = 0
        try:
            with pa.memory_map(str(self.path)) as mapped:
                try:
                    batches = self._batches(mapped)
                except (OSError, pa.ArrowException) as error:
                    raise UserError(f"{self.path}: is no whole Arrow file: {words(error)}", AGAIN) from None
                for batch in batches:
                    batch.validate()  # offsets beyond the file would be followed
                    yield from parts(number, batch, place.number)
                    number += batch.num_rows
        except (OSError, pa.ArrowException) as error:
            here = Place(number, number)
            yield Unreadable(here, here, BadRow("", f"what follows cannot be read: {words(error)}", AGAIN))
            return
        if not number:
            yield Unreadable(START, START, BadRow("", "the table has no rows", "put rows in it"))

    def _batches(self, mapped: Any) -> Iterator[Any]:
        ipc = arrow("pyarrow.ipc")
        with self.path.open("rb") as file:
            if file.read(6) != b"ARROW1":
                return iter(ipc.open_stream(mapped))
        reader = ipc.open_file(mapped)
        return (reader.get_batch(index) for index in range(reader.num_record_batches))
