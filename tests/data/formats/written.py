"""Rows written in every format, by the writers people use."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import zstandard


def lines(rows, path):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def listed(rows, path):
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")


def pretty(rows, path):
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=2), encoding="utf-8")


def under_a_key(rows, path):
    path.write_text(json.dumps({"version": [1, {"a": 2}], "data": rows, "n": {}}, indent=1), encoding="utf-8")


def chinese(rows, path):
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="gb18030")


def separated(rows, path):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], dialect="excel-tab" if ".tsv" in path.name else "excel")
        writer.writeheader()
        writer.writerows(rows)


def parquet(rows, path):
    pa.parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=7)


def stream(rows, path):
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_stream(str(path), table.schema) as out:
        out.write_table(table, max_chunksize=5)


def arrow_file(rows, path):
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_file(str(path), table.schema) as out:
        out.write_table(table, max_chunksize=5)


TEXT = {
    "lines.jsonl": lines,
    "listed.json": listed,
    "pretty.json": pretty,
    "key.json": under_a_key,
    "chinese.json": chinese,
    "table.csv": separated,
    "table.tsv": separated,
}
BINARY = {"table.parquet": parquet, "stream.arrow": stream, "file.arrow": arrow_file}


def in_two_members(data: bytes, packed: str) -> bytes:
    """Compress the halves of some bytes and put them end to end."""
    half = len(data) // 2
    pack = gzip.compress if packed == ".gz" else zstandard.ZstdCompressor().compress
    return pack(data[:half]) + pack(data[half:])


def written(rows, folder: Path, name: str) -> Path:
    """Write rows as a file name says, compressed if it ends so."""
    plain = name.removesuffix(".gz").removesuffix(".zst")
    path = folder / plain
    (TEXT | BINARY)[plain](rows, path)
    if plain != name:
        packed = folder / name
        packed.write_bytes(in_two_members(path.read_bytes(), name[len(plain) :]))
        return packed
    return path


def csv_bytes(rows) -> bytes:
    """Return rows of fields as the standard writer has them."""
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode()
