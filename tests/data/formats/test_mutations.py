"""Files with bytes changed, cut or doubled anywhere: reading ends, says what it met, and never crashes."""

from __future__ import annotations

import random
from unittest import mock

import pytest

from danlu.base.errors import UserError
from danlu.data.rows import BadRow
from danlu.data.sources import Source
from data.formats.written import BINARY, TEXT, written

ROWS = [{"text": f'row {i} 丹炉, "so"\nand {{[more]}}', "more": str(i)} for i in range(30)]
NAMES = [*TEXT, *BINARY, "lines.jsonl.gz", "table.csv.zst", "pretty.json.gz"]
ODD = [b'"', b"{", b"}", b"]", b"[", b",", b"\n", b"\\", b"\0", b"\xff"]


def mutated(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    size = chance.choice([1, 1, 2, 40])
    new = chance.choice([*ODD, chance.randbytes(size), data[at : at + size]])
    return chance.choice([data[:at], data[:at] + data[at + size :], data[:at] + new + data[at:]])


@pytest.mark.parametrize("name", NAMES)
def test_reading_ends_in_rows_or_in_two_lines(tmp_path, name):
    whole = written(ROWS, tmp_path, name).read_bytes()
    path = tmp_path / f"changed-{name}"
    chance = random.Random(name)
    for _ in range(40):
        path.write_bytes(mutated(whole, chance) or b" ")
        with mock.patch("danlu.data.formats.BLOCK", chance.choice([7, 200, 1 << 20])):
            try:
                list(Source([path], "pretrain").found())
            except UserError as error:
                assert str(path) in error.problem and error.hint


@pytest.mark.parametrize("name", [name for name in TEXT if name != "chinese.json"])
def test_one_wrong_byte_is_met_or_changes_one_text(tmp_path, name):
    """Whichever byte is another: a row is bad, or all but one or two are those written."""
    whole = written(ROWS, tmp_path, name).read_bytes()
    path = tmp_path / f"changed-{name}"
    wanted = {row["text"] for row in ROWS}
    chance = random.Random(name)
    for _ in range(40):
        at = chance.randrange(len(whole))
        path.write_bytes(whole[:at] + chance.choice(ODD) + whole[at + 1 :])
        with mock.patch("danlu.data.formats.BLOCK", 200):
            try:
                found = [row.record for row in Source([path], "pretrain").found()]
            except UserError:
                continue
        lost = wanted - {record.text for record in found if not isinstance(record, BadRow)}
        assert any(isinstance(record, BadRow) for record in found) or len(lost) <= 2
