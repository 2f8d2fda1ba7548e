"""Blocks of Arrow columns, as Parquet and Arrow files give them; a row is known by its rank."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from danlu.base.errors import UserError
from danlu.data import formats
from danlu.data.rows import BadRow, Place, Row


def arrow(module: str = "pyarrow") -> Any:
    """Return a module of pyarrow, or say how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UserError("tables need the package pyarrow", "bash run_all.sh setup --extra data") from None


class Columns:
    """Some rows as one Arrow record batch; it travels to other processes as bytes."""

    def __init__(self, number: int, batch: Any) -> None:
        self.place, self.after = (
            Place(number, number),
            Place(number + batch.num_rows, number + batch.num_rows),
        )
        self.batch = batch

    def rows(self) -> Iterator[Row]:
        for number, value in enumerate(_values(self.batch), self.place.number):
            yield Row(Place(number, number), value)

    def __reduce__(self) -> Any:
        sink = arrow().BufferOutputStream()
        with arrow("pyarrow.ipc").new_stream(sink, self.batch.schema) as stream:
            stream.write_batch(self.batch)
        return _columns, (self.place.number, sink.getvalue().to_pybytes())


def _values(batch: Any) -> list[Any]:
    """Return the rows of a batch; broken offsets or bytes cost the rows they are in."""
    try:
        batch.validate(full=True)
        return list(batch.to_pylist())
    except (arrow().ArrowException, UnicodeDecodeError) as error:
        if batch.num_rows == 1:
            return [BadRow("", f"cannot be read: {words(error)}", "fetch or write the file again")]
    return [value for row in range(batch.num_rows) for value in _values(batch.slice(row, 1))]


def _columns(number: int, data: bytes) -> Columns:
    return Columns(number, arrow("pyarrow.ipc").open_stream(data).read_next_batch())


def parts(number: int, batch: Any, begin: int) -> Iterator[Columns]:
    """Yield a batch whose first row has a number, from another row on, about a megabyte at a time."""
    rows = max(1, batch.num_rows * formats.BLOCK // max(1, batch.nbytes))
    for first in range(max(0, begin - number), batch.num_rows, rows):
        yield Columns(number + first, batch.slice(first, rows))


def words(error: BaseException) -> str:
    """Return the first line of an error of Arrow."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")[:160]
