"""Every fault planted in an export is found, and its place is named; where nothing is wrong, nothing is.

Each in three looks: as exported; without manifest.json, so that no hash helps; and without our section in
config.json too, as somebody else might have written the folder.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import exports
from planted import ONLY_OURS, PLANTED, SOURCES, Planted


@pytest.fixture(scope="module")
def made_of(tmp_path_factory):
    """Return a function that gives the source and the export of a model, both made once."""
    top = tmp_path_factory.mktemp("exports")
    pairs: dict[str, tuple[Path, Path]] = {}

    def pair(name: str) -> tuple[Path, Path]:
        if name not in pairs:
            source = exports.finished(top / str(len(pairs)), SOURCES[name])
            pairs[name] = source, exports.exported(source, source.with_suffix(".hf"))
        return pairs[name]

    return pair


def spoilt(pair: tuple[Path, Path], planted: Planted, look: str, folder: Path) -> list[str]:
    """Return what a check says of a spoilt copy."""
    source, right = pair
    shutil.copytree(right, folder)
    exports.LOOKS[look](folder)
    planted.spoil(folder)
    return exports.faults(folder, source, planted.level)


@pytest.mark.parametrize("look", exports.LOOKS)
@pytest.mark.parametrize("fault", PLANTED)
def test_a_fault_is_found_and_its_place_named(made_of, tmp_path, fault, look):
    planted = PLANTED[fault]
    said = spoilt(made_of(planted.model), planted, look, tmp_path / "spoilt")
    assert any(re.search(planted.said, line) for line in said), said


@pytest.mark.parametrize("look", list(exports.LOOKS)[:2])
@pytest.mark.parametrize("fault", ONLY_OURS)
def test_what_only_we_write_is_held_to_the_letter(made_of, tmp_path, fault, look):
    planted = ONLY_OURS[fault]
    said = spoilt(made_of(planted.model), planted, look, tmp_path / "spoilt")
    assert any(re.search(planted.said, line) for line in said), said


@pytest.mark.parametrize("look", exports.LOOKS)
@pytest.mark.parametrize("name", SOURCES)
def test_what_is_right_is_found_right(made_of, tmp_path, name, look):
    source, right = made_of(name)
    shutil.copytree(right, tmp_path / "copy")
    exports.LOOKS[look](tmp_path / "copy")
    assert exports.faults(tmp_path / "copy", source) == []
